"""One product document in a buffer, walked by offsets: everything is checked and nothing is decoded or copied."""

import re

from services.ingest.bson_elements import INT32, INT64, NAMES, elements
from shared.domain.label_sets import Labels, canonical

START = re.compile(rb"[\x10\x12](?:_id|category_id)\x00|\x04(?:imgs|category_ids)\x00")
"""What a product document begins with, right after its length."""

Walked = tuple[int, int | Labels | None, list[int], list[int]]
"""Product id, category id or ids, and where each image lies in the buffer that was walked: offsets, lengths."""
_NAMES = (b"_id", b"category_id", b"category_ids", b"imgs")


class RefusedError(Exception):
    """A well-formed document that is no product."""


def walk(data: bytes, start: int, end: int) -> Walked:
    """The product in `data[start:end]`, where `end - start` is its length field.

    Raises DamagedError for bytes that are no BSON document and RefusedError for a document that is no product.
    """
    found: dict[bytes, tuple[int, int, int]] = {}
    repeated = ""
    for kind, name, at, stop in elements(data, start, end):
        if name in _NAMES:
            repeated = name.decode() if name in found else repeated
            found[name] = kind, at, stop
    if repeated:
        raise RefusedError(f"it has more than one {repeated}")
    product_id = _integer(data, "_id", found.get(b"_id"))
    if product_id is None:
        raise RefusedError("_id is missing")
    category: int | Labels | None = _integer(data, "category_id", found.get(b"category_id"))
    if b"category_ids" in found:
        if category is not None:
            raise RefusedError("it has both category_id and category_ids")
        category = _labels(data, *found[b"category_ids"])
    if b"imgs" not in found:
        raise RefusedError("imgs is missing")
    kind, at, stop = found[b"imgs"]
    if kind != 0x04:
        raise RefusedError(f"imgs is {NAMES[kind]}, not an array")
    images = _images(data, at, stop)
    if not images:
        raise RefusedError("it has no images")
    return product_id, category, [at for at, _ in images], [length for _, length in images]


def _integer(data: bytes, name: str, element: tuple[int, int, int] | None) -> int | None:
    if element is None:
        return None
    kind, at, _ = element
    if kind not in (0x10, 0x12):
        raise RefusedError(f"{name} is {NAMES[kind]}, not an int32 or int64")
    value: int = (INT32 if kind == 0x10 else INT64).unpack_from(data, at)[0]
    return value


def _labels(data: bytes, kind: int, start: int, end: int) -> Labels:
    if kind != 0x04:
        raise RefusedError(f"category_ids is {NAMES[kind]}, not an array")
    labels = []
    for place, element in enumerate(elements(data, start, end)):
        label = _integer(data, f"number {place} of category_ids", (element[0], *element[2:]))
        if label is not None:
            labels.append(label)
    return canonical(labels)


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
