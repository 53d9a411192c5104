"""What can be told of a safetensors file without torch: its tensors and their shapes, from the header alone."""

import json
import math
import struct
from collections.abc import Mapping

from shared.domain.errors import BadInputError
from shared.dumps import Dump

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MOST_HEADER = 100 * 2**20  # as the format's own reader

Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(name: str, dump: Dump) -> Shapes:
    """The tensors of a safetensors file, checked to fill it. `name` is what errors call it. Raises BadInputError."""
    size = dump.size()
    try:
        (length,) = struct.unpack("<Q", _read(dump, 0, 8))
        if length > min(size - 8, _MOST_HEADER):
            raise ValueError(f"its header would have {length} bytes")
        header = json.loads(_read(dump, 8, length))
        shapes, end = {}, 0
        for tensor, about in header.items():
            if tensor == "__metadata__":
                continue
            shape = tuple(int(side) for side in about["shape"])
            start, stop = about["data_offsets"]
            if stop - start != math.prod(shape) * _BYTES[about["dtype"]]:
                raise ValueError(f"tensor '{tensor}' does not have the bytes of its shape")
            shapes[tensor], end = shape, max(end, stop)
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes, and its tensors end at {8 + length + end}")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = f"it is no safetensors file, or a cut one: {error}"
        raise BadInputError(name, reason, remedy="write it again with safetensors.torch.save_file") from None
    return shapes


def _read(dump: Dump, offset: int, length: int) -> bytes:
    content = bytearray(length)
    done = 0
    with dump.open(offset) as read_into:
        while done < length and (count := read_into(memoryview(content)[done:])):
            done += count
    if done < length:
        raise ValueError(f"it ends at byte {offset + done}")
    return bytes(content)
