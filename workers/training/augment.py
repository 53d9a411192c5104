"""Augmentation on the device, each from bits that depend on (seed, epoch, product, image) alone."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from workers.training.dataset import Bool, Images, Int64, epoch_bits


def hflip(batch: Tensor, chosen: Tensor) -> Tensor:
    """Mirror left to right where `chosen` (bool[n]): float32 [n, 3, S, S] -> the same."""
    return torch.where(chosen.view(-1, 1, 1, 1), batch.flip(3), batch)


_BY_NAME: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"hflip": hflip}


class EpochAugmentation:
    """What one epoch does to each image."""

    def __init__(self, names: Sequence[str], images: Images, seed: int, epoch: int) -> None:
        self._bits: dict[str, Bool] = {name: epoch_bits(images, seed, epoch, name) for name in names}

    def apply(self, batch: Tensor, rows: Int64) -> Tensor:
        """Augment resized pictures [n, 3, S, S] of the rows (int64[n])."""
        for name, bits in self._bits.items():
            batch = _BY_NAME[name](batch, torch.from_numpy(bits[rows]).to(batch.device))
        return batch
