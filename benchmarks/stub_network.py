"""The network that stands for a GPU: light to import, since other programs' processes run it too."""

import time

import torch
from torch import Tensor, nn

from workers.vision.devices import torch_threads

CLASSES = 12  # as in the sample: what is computed per class belongs to networks


class StubNetwork(nn.Module):
    """As good as no network: classes from the colour of one pixel, `seconds` per batch later.

    It stands for a GPU, which also normalises: it takes pictures as they are, and no core from those who decode. (A
    second OpenMP thread waits for a core that decodes, and took longer than all else of the engine.)
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("spread", torch.linspace(-1, 1, 3 * CLASSES).view(3, CLASSES))
        self._seconds = seconds

    def forward(self, inputs: Tensor) -> Tensor:
        if self._seconds:  # even a sleep of nothing gives the core away
            time.sleep(self._seconds)
        with torch_threads(1):
            colours = inputs[:, :, inputs.shape[2] // 2, inputs.shape[3] // 2]
            return (colours / 127.5 - 1) @ self.get_buffer("spread")
