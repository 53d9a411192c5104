"""What an engine runs, and on what: networks, a device, and the batches that this one chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from shared.domain.ensemble import Input
from workers.vision.devices import device_memory


class Network(Protocol):
    """A member ready to run: in eval mode on the device, float32."""

    @property
    def module(self) -> nn.Module:
        """Takes [n, 3, size, size], gives logits [n, classes]."""

    @property
    def input(self) -> Input:
        """How its pictures are prepared; without mean and deviation it takes them as they are, in 0..255."""

    @property
    def labels(self) -> tuple[int, ...]:
        """The class indexes that a member of a multilabel ensemble has learnt; empty: all."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how to compute. `precision` may be auto; `batch_images` None means: chosen for the device."""

    device: torch.device
    precision: str = "auto"
    batch_images: int | None = None


def learnt_labels(networks: Sequence[Network], classes: int) -> npt.NDArray[np.bool_]:
    """Which labels each network has learnt: bool[networks, classes]."""
    return np.stack([np.isin(np.arange(classes), network.labels or np.arange(classes)) for network in networks])


def default_batch_images(device: torch.device, largest: int) -> int:
    """32 on a CPU, where more gains nothing; on a GPU 512, or fewer for large pictures and small memories."""
    if device.type == "cpu":
        return 32
    share = device_memory(device) / (16 * 2**30) * (180 / largest) ** 2  # 512 of 180 pixels take well under 16 GiB
    return int(min(512, max(32, 512 * share // 32 * 32)))
