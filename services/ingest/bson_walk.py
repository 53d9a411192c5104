"""One product document in a buffer, walked by offsets: everything is checked and nothing is decoded or copied."""

import re
from struct import Struct

from services.ingest.bson_elements import INT32, INT64, NAMES, elements

START = re.compile(rb"[\x10\x12](?:_id|category_id)\x00|\x04imgs\x00")
"""What a product document begins with, right after its length."""

Walked = tuple[int, int | None, list[int], list[int]]
"""Product id, category id, and where each image lies in the buffer that was walked: offsets, lengths."""


class RefusedError(Exception):
    """A well-formed document that is no product."""


def walk(data: bytes, start: int, end: int) -> Walked:
    """The product in `data[start:end]`, where `end - start` is its length field.

    Raises DamagedError for bytes that are no BSON document and RefusedError for a document that is no product.
    """
    return _walk_usual(data, start, end) or _walk_any(data, start, end)


_ID32 = Struct("<5si6si3si9siB")  # _id, then imgs up to the first byte of its first picture
_ID64 = Struct("<5sq6si3si9siB")
_NEXT = Struct("<B3si9siB")  # the end of one document of imgs, then the next up to its picture
_TAIL32 = Struct("<13siB")
_TAIL64 = Struct("<13sqB")
_IDS = (b"\x10_id\x00", b"\x12_id\x00")
_KEYS = [b"\x03%d\x00" % i for i in range(10)]
_SHORTEST = 64  # bytes of a document that the structs above may be laid over


def _walk_usual(data: bytes, start: int, end: int) -> Walked | None:
    """The layout that a dump has nearly always, `_id`, `imgs`, `category_id?`; None for anything else."""
    if end - start < _SHORTEST:
        return None
    head, at = (_ID32, start + 19) if data[start + 4] == 0x10 else (_ID64, start + 23)
    name, product_id, imgs, array, key, inner, picture, size, subtype = head.unpack_from(data, start + 4)
    last = at + array - 1  # the array's own end
    if name not in _IDS or imgs != b"\x04imgs\x00" or last >= end:
        return None
    offsets = []
    lengths = []
    at += 7
    for expected in _KEYS:
        if key != expected or picture != b"\x05picture\x00" or subtype or size != inner - 19 or size <= 0:
            return None
        offsets.append(at + 18)
        lengths.append(size)
        at += inner
        if at + 20 > last:
            break
        terminator, key, inner, picture, size, subtype = _NEXT.unpack_from(data, at - 1)
        if terminator:
            return None
        at += 3
    if at != last or data[at - 1] or data[at]:
        return None
    category = _usual_category(data, last + 1, end)
    return category and (product_id, category[0], offsets, lengths)


def _usual_category(data: bytes, at: int, end: int) -> tuple[int | None] | None:
    if end - at == 18:
        name, category_id, terminator = _TAIL32.unpack_from(data, at)
        return None if terminator or name != b"\x10category_id\x00" else (category_id,)
    if end - at == 22:
        name, category_id, terminator = _TAIL64.unpack_from(data, at)
        return None if terminator or name != b"\x12category_id\x00" else (category_id,)
    return (None,) if end - at == 1 and not data[at] else None


def _walk_any(data: bytes, start: int, end: int) -> Walked:
    found: dict[bytes, tuple[int, int, int]] = {}
    repeated = ""
    for kind, name, at, stop in elements(data, start, end):
        if name in (b"_id", b"category_id", b"imgs"):
            repeated = name.decode() if name in found else repeated
            found[name] = kind, at, stop
    if repeated:
        raise RefusedError(f"it has more than one {repeated}")
    product_id = _integer(data, "_id", found.get(b"_id"))
    if product_id is None:
        raise RefusedError("_id is missing")
    category_id = _integer(data, "category_id", found.get(b"category_id"))
    if b"imgs" not in found:
        raise RefusedError("imgs is missing")
    kind, at, stop = found[b"imgs"]
    if kind != 0x04:
        raise RefusedError(f"imgs is {NAMES[kind]}, not an array")
    images = _images(data, at, stop)
    if not images:
        raise RefusedError("it has no images")
    return product_id, category_id, [at for at, _ in images], [length for _, length in images]


def _integer(data: bytes, name: str, element: tuple[int, int, int] | None) -> int | None:
    if element is None:
        return None
    kind, at, _ = element
    if kind not in (0x10, 0x12):
        raise RefusedError(f"{name} is {NAMES[kind]}, not an int32 or int64")
    value: int = (INT32 if kind == 0x10 else INT64).unpack_from(data, at)[0]
    return value


def _images(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """(offset, length) of each picture of the array in `data[start:end]`, which was found well-formed before."""
    images: list[tuple[int, int]] = []
    for kind, _, at, stop in elements(data, start, end):
        where = f"image {len(images)}"
        if kind != 0x03:
            raise RefusedError(f"{where} is {NAMES[kind]}, not a document with a picture")
        pictures = [element for element in elements(data, at, stop) if element[1] == b"picture"]
        if len(pictures) != 1:
            raise RefusedError(f"{where} has {'more than one' if pictures else 'no'} picture")
        kind, _, at, stop = pictures[0]
        if kind != 0x05:
            raise RefusedError(f"the picture of {where} is {NAMES[kind]}, not binary")
        at += 9 if data[at + 4] == 2 else 5  # subtype 2, long obsolete, repeats the length
        if at == stop:
            raise RefusedError(f"{where} is empty")
        images.append((at, stop - at))
    return images
