"""Decoded pictures on their way into the networks: one device buffer of fixed shape per distinct input."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from shared.domain.ensemble import Input
from workers.vision.preprocessing import resize

_PENDING_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}  # on a GPU, transfers are what large groups save


def resized_as(given: Input) -> Input:
    """What members must share to share one resize: all of an input but mean and deviation."""
    return replace(given, mean=(), std=())


class InputBuffers:
    """Collects up to `batch_images` pictures, each resized once per distinct input.

    Pixels are kept only until enough of them are there to be worth a transfer: large pictures never pile up.
    """

    def __init__(self, inputs: Iterable[Input], batch_images: int, device: torch.device) -> None:
        self._device = device
        self._pending_limit = _PENDING_BYTES.get(device.type, 0)
        self._pending: list[Tensor] = []
        self._pending_bytes = 0
        self._filled = 0
        self._buffers = {
            given: torch.zeros((batch_images, 3, given.size, given.size), device=device).to(
                memory_format=torch.channels_last
            )
            for given in map(resized_as, inputs)
        }

    def add(self, pixels: Tensor) -> None:
        """Put one picture, uint8 [height, width, 3], into the next row."""
        self._pending.append(pixels)
        self._pending_bytes += pixels.nbytes
        if self._pending_bytes > self._pending_limit:
            self._move()

    def full(self) -> dict[Input, Tensor]:
        """The batch, float32 [batch_images, 3, size, size] in 0..255 per input, rows without a picture zero."""
        self._move()
        for buffer in self._buffers.values():
            buffer[self._filled :] = 0
        self._filled = 0
        return self._buffers

    def _move(self) -> None:
        if self._pending:
            stop = self._filled + len(self._pending)
            for given, buffer in self._buffers.items():
                resize(self._pending, given, self._device, buffer[self._filled : stop])
            self._filled, self._pending, self._pending_bytes = stop, [], 0
