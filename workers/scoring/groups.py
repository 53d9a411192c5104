"""Groups of pictures: what one thread decodes at a time, and where it puts them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.ports import Clock
from workers.vision.decode import DecodeLimits, Header, Pixels, UndecodableError, decode

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The pictures at places start..stop of a plan's, in blocks of one size, and why there are none of others.

    The next group may use the same memory: what is needed of it has to be copied before that one is taken. `batch`
    stays until a group of another one is taken, or the next plan.
    """

    start: int
    stop: int
    blocks: list[tuple[Places, Tensor]]  # places, ascending; uint8 [n, height, width, 3]
    reasons: Mapping[int, str]  # by place
    seconds: float
    batch: Tensor | None  # memory of the batch that all of them belong to, uint8 [images, size, size, 3]
    lies_there: bool  # whether the pictures are its rows, by their places in the batch


@dataclass(slots=True)
class Group:
    """Pictures to decode one after another in one thread."""

    start: int  # place of the first
    contents: list[memoryview]
    headers: list[Header | None]  # None: it will be refused
    bytes: int  # of the pictures when they are decoded
    batch: Pixels | None  # memory of the batch that all of them belong to

    def by_shape(self) -> dict[tuple[int, int, int], list[int]]:
        """Members per shape."""
        found: dict[tuple[int, int, int], list[int]] = {}
        for member, header in enumerate(self.headers):
            found.setdefault(shape_of(header), []).append(member)
        return found


def shape_of(header: Header | None) -> tuple[int, int, int]:
    """What the picture will be; nothing where it will be refused."""
    return header.shape if header else (0, 0, 0)


def decode_group(
    group: Group, memory_of: Callable[[int], Pixels], limits: DecodeLimits, clock: Clock
) -> tuple[Decoded, Pixels | None]:
    """The pictures of a group, and the memory of `memory_of` (bytes) that holds them; None where their batch does."""
    began = clock()
    by_shape, memory = group.by_shape(), None
    if group.batch is not None and list(by_shape) == [group.batch.shape[1:]]:
        first = group.start % len(group.batch)
        pixels_of = group.batch[first : first + len(group.contents)].reshape(-1)
    else:
        pixels_of = memory = memory_of(group.bytes)
    blocks: list[tuple[Places, Tensor]] = []
    reasons: dict[int, str] = {}
    used = 0
    for shape, members in by_shape.items():
        block = pixels_of[used : used + len(members) * math.prod(shape)].reshape(len(members), *shape)
        used += block.nbytes
        there = []
        for row, member in enumerate(members):
            place = group.start + member
            try:
                pixels = decode(group.contents[member], limits, block[row], group.headers[member])
            except UndecodableError as error:
                reasons[place] = error.reason
                continue
            if pixels.shape == shape:
                there.append(row)
            else:  # damaged in a way that decoders read differently
                blocks.append((np.array([place]), torch.from_numpy(pixels[None])))
        if there:
            places = np.array(members, np.int64)[there] + group.start
            blocks.append((places, torch.from_numpy(block if len(there) == len(members) else block[there])))
    batch = None if group.batch is None else torch.from_numpy(group.batch)
    stop, seconds = group.start + len(group.contents), clock() - began
    return Decoded(group.start, stop, blocks, reasons, seconds, batch, memory is None), memory
