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
        self._own = {given: self._buffer(given.size, torch.uint8) for given in map(_resized_as, inputs)}
        self._normalised = {size: self._buffer(size, torch.float32) for size in self.sizes}
        self.begin(None)

    @property
    def sizes(self) -> set[int]:
        """Pixels of a side, of each input."""
        return {given.size for given in self._own}

    def normalised(self, size: int) -> Tensor:
        """Where the inputs of one pass may be written, [batch_images, 3, size, size]."""
        return self._normalised[size]

    def begin(self, memory: Tensor | None) -> None:
        """Begin a batch. Inputs of its size take `memory`, uint8 [batch_images, size, size, 3] on the CPU, as it is."""
        self._buffers, self._lent = dict(self._own), set[Input]()
        if memory is not None and self._device.type == "cpu":
            self._lent = {given for given in self._own if given.size == memory.shape[1]}
            self._buffers |= dict.fromkeys(self._lent, memory.permute(0, 3, 1, 2))

    def put(self, rows: npt.NDArray[np.int64], pixels: Tensor, *, lies_there: bool = False) -> None:
        """Pictures of one size, uint8 [n, height, width, 3] on the CPU, into these rows, ascending.

        `lies_there`: they are these rows of the memory that the batch began with.
        """
        for given in self._buffers:
            if not (lies_there and given in self._lent):
                resize_group(pixels, given, self._for(given, pixels), rows)

    def _for(self, given: Input, pixels: Tensor) -> Tensor:
        """The input's buffer, made float32 for pictures that have to be resized."""
        buffer = self._buffers[given]
        if buffer.dtype == torch.uint8 and pixels.shape[1:3] != buffer.shape[2:]:
            if self._own[given].dtype == torch.uint8:
                self._own[given] = self._buffer(given.size, torch.float32)
            self._buffers[given] = self._own[given].copy_(buffer)
            self._lent.discard(given)
        return self._buffers[given]

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
