"""Decoded pictures on their way into the networks: one device buffer of fixed shape per distinct input."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.ensemble import Input
from workers.vision.preprocessing import resize_group


class InputBuffers:
    """Up to `batch_images` pictures, each resized once per distinct input. Used again and again: memory that is new
    to the process costs as much time as what is written to it."""

    def __init__(self, inputs: Iterable[Input], batch_images: int, device: torch.device) -> None:
        self.batch_images = batch_images
        self._device = device
        self._buffers = {given: self._buffer(given.size, torch.uint8) for given in map(_resized_as, inputs)}
        self._normalised = {size: self._buffer(size, torch.float32) for size in {given.size for given in self._buffers}}

    def normalised(self, size: int) -> Tensor:
        """Where the inputs of one pass may be written, [batch_images, 3, size, size]."""
        return self._normalised[size]

    def put(self, rows: npt.NDArray[np.int64], pixels: Tensor) -> None:
        """Pictures of one size, uint8 [n, height, width, 3] on the CPU, into these rows, ascending."""
        for given, buffer in self._buffers.items():
            if buffer.dtype == torch.uint8 and pixels.shape[1:3] != buffer.shape[2:]:
                buffer = self._buffers[given] = self._buffer(given.size, torch.float32).copy_(buffer)
            resize_group(pixels, given, buffer, rows)

    def fill_up(self, there: npt.NDArray[np.bool_]) -> None:
        """Rows that are not `there` become zero; `there` is of the first rows, those after them are not."""
        empty = np.append(np.flatnonzero(~there), np.arange(len(there), self.batch_images))
        if len(empty):
            for buffer in self._buffers.values():
                buffer[torch.from_numpy(empty).to(self._device)] = 0

    def batch(self, given: Input) -> Tensor:
        """The pictures as this input takes them: [batch_images, 3, size, size] in 0..255.

        uint8 until a picture of another size came, then float32.
        """
        return self._buffers[_resized_as(given)]

    def _buffer(self, size: int, dtype: torch.dtype) -> Tensor:
        shape = (self.batch_images, size, size, 3)
        return torch.empty(shape, dtype=dtype, device=self._device).permute(0, 3, 1, 2)


def _resized_as(given: Input) -> Input:
    """What members must share to share one resize: all of an input but mean and deviation."""
    return replace(given, mean=(), std=())
