"""BSON element by element, by offsets: every value is checked and nothing is copied. The format is bsonspec.org's."""

from collections.abc import Iterator
from struct import Struct

MIN_DOCUMENT = 5
MAX_DOCUMENT = 16 * 2**20 + 16 * 2**10  # MongoDB's limit and the slack that its own tools allow
_MAX_DEPTH = 100  # levels of nesting, as in MongoDB

INT32, INT64 = Struct("<i"), Struct("<q")
NAMES = {
    0x01: "a double", 0x02: "a string", 0x03: "a document", 0x04: "an array", 0x05: "binary", 0x06: "undefined",
    0x07: "an ObjectId", 0x08: "a boolean", 0x09: "a date", 0x0A: "null", 0x0B: "a regular expression",
    0x0C: "a DBPointer", 0x0D: "code", 0x0E: "a symbol", 0x0F: "code", 0x10: "an int32", 0x11: "a timestamp",
    0x12: "an int64", 0x13: "a decimal", 0x7F: "the maximal key", 0xFF: "the minimal key",
}  # fmt: skip
"""What each element type is called in messages."""
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
_STRINGS = (0x02, 0x0C, 0x0D, 0x0E)
_OBJECT_ID = 12

Element = tuple[int, bytes, int, int]
"""Type, name, start and end of the value."""


class DamagedError(Exception):
    """Bytes that are no BSON document: where the next one starts is unknown."""


def check_length(length: int) -> None:
    """Raises DamagedError if no document has this length."""
    if MIN_DOCUMENT <= length <= MAX_DOCUMENT:
        return
    if length < 0:
        raise DamagedError(f"its length field is negative ({length})")
    if length == 0:
        raise DamagedError("its length field is zero")
    if length < MIN_DOCUMENT:
        raise DamagedError(f"its length field is too small ({length}, and the least is {MIN_DOCUMENT})")
    raise DamagedError(f"its length field is too large ({length}, and the most is {MAX_DOCUMENT})")


def check_document(data: bytes, start: int, end: int, depth: int = 0) -> None:
    """Raises DamagedError unless `data[start:end]` is one BSON document."""
    for _ in elements(data, start, end, depth):
        pass


def elements(data: bytes, start: int, end: int, depth: int = 0) -> Iterator[Element]:
    """The elements of the document in `data[start:end]`, each checked to its last level. Raises DamagedError."""
    if depth > _MAX_DEPTH:
        raise DamagedError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if end - start < MIN_DOCUMENT or INT32.unpack_from(data, start)[0] != end - start or data[end - 1]:
        raise DamagedError("its length field does not fit its elements")
    at, last = start + 4, end - 1
    while at < last:
        kind = data[at]
        if kind not in NAMES:
            raise DamagedError(f"there is no element type 0x{kind:02x}, or its length field does not fit its elements")
        value = _string_end(data, at + 1, last)
        name = data[at + 1 : value - 1]
        stop = _value_end(data, kind, value, last, depth)
        if stop > last:
            raise DamagedError(f"the element '{name.decode()[:40]}' runs past the end that its length field gives")
        yield kind, name, value, stop
        at = stop


def _value_end(data: bytes, kind: int, at: int, last: int, depth: int) -> int:
    """Just after the value at `at`, or a place beyond `last` if it runs past that."""
    if kind in _FIXED:
        if kind == 0x08 and at < last and data[at] > 1:
            raise DamagedError("a boolean is neither 0 nor 1")
        return at + _FIXED[kind]
    if kind == 0x0B:
        return _string_end(data, _string_end(data, at, last), last)
    if at + 4 > last:
        return last + 1
    if kind in _STRINGS:
        return _text_end(data, at, last) + (_OBJECT_ID if kind == 0x0C else 0)
    if kind == 0x05:
        return _binary_end(data, at, last)
    end = at + _inner_length(data, at, MIN_DOCUMENT)
    if end <= last:
        if kind == 0x0F:
            _check_scoped_code(data, at, end, depth)
        else:
            check_document(data, at, end, depth + 1)
    return end


def _inner_length(data: bytes, at: int, least: int) -> int:
    length: int = INT32.unpack_from(data, at)[0]
    if length < least:
        raise DamagedError(f"an inner length field is {'negative' if length < 0 else 'too small'} ({length})")
    return length


def _string_end(data: bytes, at: int, last: int) -> int:
    """Just after the zero-terminated string at `at`, which must be UTF-8."""
    zero = data.find(b"\0", at, last)
    if zero < 0:
        raise DamagedError("a name or string has no end")
    _check_text(data, at, zero)
    return zero + 1


def _text_end(data: bytes, at: int, last: int) -> int:
    end = at + 4 + _inner_length(data, at, 1)
    if end <= last:
        if data[end - 1]:
            raise DamagedError("a string has no end")
        _check_text(data, at + 4, end - 1)
    return end


def _binary_end(data: bytes, at: int, last: int) -> int:
    size = _inner_length(data, at, 0)
    end = at + 5 + size
    if end <= last and data[at + 4] == 2 and (size < 4 or INT32.unpack_from(data, at + 5)[0] != size - 4):
        raise DamagedError("the two lengths of a binary of subtype 2 differ")
    return end


def _check_scoped_code(data: bytes, at: int, end: int, depth: int) -> None:
    scope = _text_end(data, at + 4, end) if end - at >= 14 else end
    check_document(data, min(scope, end), end, depth + 1)


def _check_text(data: bytes, at: int, end: int) -> None:
    try:
        data[at:end].decode()
    except UnicodeDecodeError:
        raise DamagedError("a name or string is not UTF-8") from None
