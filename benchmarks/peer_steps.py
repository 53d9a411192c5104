"""What the processes of peers do, as whoever scores a dump with them would write it: read, decode, the network.

Light to import, since those processes start often.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image

from benchmarks.stub_network import StubNetwork

Int64 = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Decoder = Callable[[bytes], Pixels]
"""A JPEG to uint8 [height, width, 3]."""
Columns = dict[str, Any]
"""A batch as Ray Data has it: an array per column."""


def _pillow(content: bytes) -> Pixels:
    return np.array(Image.open(BytesIO(content)).convert("RGB"))


def _simplejpeg(content: bytes) -> Pixels:
    decoded: Pixels = simplejpeg.decode_jpeg(content, "RGB")
    return decoded


DECODERS: dict[str, Decoder] = {"Pillow": _pillow, "simplejpeg": _simplejpeg}


@cache
def network() -> StubNetwork:
    torch.set_num_threads(1)  # there are several processes
    return StubNetwork().eval()


@cache
def _opened(dump: str) -> int:
    return os.open(dump, os.O_RDONLY)


def read(dump: str, offset: int, length: int) -> bytes:
    return os.pread(_opened(dump), length, offset)


def pixels(dump: str, decoder: str, offsets: Sequence[int], lengths: Sequence[int]) -> Pixels:
    """uint8 [n, height, width, 3]: pictures of equal size."""
    decode = DECODERS[decoder]
    return np.stack([decode(read(dump, int(at), int(size))) for at, size in zip(offsets, lengths, strict=True)])


@torch.inference_mode()
def best(batch: torch.Tensor) -> Int64:
    """The best class of each picture, uint8 [n, height, width, 3]: int64[n]."""
    classes: npt.NDArray[Any] = network()(batch.permute(0, 3, 1, 2)).argmax(1).numpy()
    return classes.astype(np.int64)


@torch.inference_mode()
def best_of_normalised(batch: torch.Tensor) -> Int64:
    """The same of float32 [n, 3, height, width] in -1..1."""
    height, width = batch.shape[2:]
    middle = batch[:, :, height // 2 : height // 2 + 1, width // 2 : width // 2 + 1]
    return best((middle + 1).mul(127.5).permute(0, 2, 3, 1))


def decoded(batch: Columns, dump: str, decoder: str) -> Columns:
    return {"product": batch["product"], "pixels": pixels(dump, decoder, batch["offset"], batch["length"])}


def answered(batch: Columns) -> Columns:
    return {"product": batch["product"], "class": best(torch.from_numpy(batch["pixels"]))}


def scored(batch: Columns, dump: str, decoder: str) -> Columns:
    return answered(decoded(batch, dump, decoder))


class Scorer:
    """`scored` for a pool of actors."""

    def __init__(self, dump: str, decoder: str) -> None:
        self._dump, self._decoder = dump, decoder

    def __call__(self, batch: Columns) -> Columns:
        return scored(batch, self._dump, self._decoder)


class Answerer:
    """`answered` likewise."""

    def __call__(self, batch: Columns) -> Columns:
        return answered(batch)
