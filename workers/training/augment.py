"""Augmentation on the device, each from numbers that depend on (seed, epoch, product, image) alone.

Flips move a batch at once; everything else is torchvision's transform on one picture at a time, so that no picture's
result depends on its batch. Transforms draw what they need from torch's CPU generator, also for pictures on a GPU: it
is seeded per picture, and left afterwards as it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms import v2

from shared.domain.ensemble import Augmentation
from workers.training.dataset import Images, Int64, epoch_bits, epoch_hashes

Colour = tuple[int, int, int]
Change = Callable[[Tensor], Tensor]  # float32 [3, S, S] in 0..255 -> the same
Stage = Callable[[Tensor, Int64], Tensor]  # pictures float32 [n, 3, S, S], their rows -> the same

_AXES = {"hflip": 3, "vflip": 2}
_AFFINE = ("rotate", "shear", "translate")
_ERASED = [125.0, 122.0, 114.0]  # the mean picture's colour, as in Zhong et al. (Random erasing, 2020)


def flip(batch: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """Mirror along `axis` where `chosen` (bool[n]): float32 [n, 3, S, S] -> the same."""
    return torch.where(chosen.view(-1, 1, 1, 1), batch.flip(axis), batch)


class EpochAugmentation:
    """What one epoch does to each image, in the order given.

    Neighbours among `rotate`, `shear` and `translate` are one affine change, in torchvision's order (shear, rotation,
    shift), so that a picture is interpolated once. What moves into the picture has the colour `fill`.
    """

    def __init__(
        self,
        augment: Sequence[Augmentation],
        images: Images,
        seed: int,
        epoch: int,
        *,
        fill: Colour = (255, 255, 255),
    ) -> None:
        self._stages = list(_stages(augment, images, seed, epoch, fill))

    def apply(self, batch: Tensor, rows: Int64) -> Tensor:
        """Augment resized pictures of the rows (int64[n]): float32 [n, 3, S, S] in 0..255 -> the same."""
        with torch.random.fork_rng(devices=[]):
            for stage in self._stages:
                batch = stage(batch, rows)
        return batch


def _stages(augment: Sequence[Augmentation], images: Images, seed: int, epoch: int, fill: Colour) -> Iterator[Stage]:
    for _, group in groupby(augment, lambda one: _AFFINE if one.name in _AFFINE else one.name):
        amounts = {one.name: one.amount for one in group}
        name, amount = next(iter(amounts.items()))
        if name in _AXES:
            yield _flips(epoch_bits(images, seed, epoch, name), _AXES[name])
        else:
            change = _affine(amounts, fill) if name in _AFFINE else _CHANGES[name](amount, fill)
            yield _each(partial(epoch_hashes, images, seed, epoch, name), change)


def _flips(bits: npt.NDArray[np.bool_], axis: int) -> Stage:
    return lambda batch, rows: flip(batch, torch.from_numpy(bits[rows]).to(batch.device), axis)


def _each(seeds: Callable[[Int64], npt.NDArray[np.uint64]], change: Change) -> Stage:
    def stage(batch: Tensor, rows: Int64) -> Tensor:
        changed = torch.empty_like(batch)
        for place, seed in enumerate(seeds(rows).tolist()):
            torch.default_generator.manual_seed(seed)
            changed[place] = change(batch[place])
        return changed.clamp_(0.0, 255.0)  # interpolation may round a little past the ends

    return stage


def _affine(amounts: Mapping[str, float], fill: Colour) -> Change:
    share = amounts.get("translate")
    affine = v2.RandomAffine(
        amounts.get("rotate", 0.0),
        translate=None if share is None else (share, share),
        shear=amounts.get("shear"),
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=None,
    )
    colour = torch.tensor(fill, dtype=torch.float32).view(3, 1, 1)

    def change(picture: Tensor) -> Tensor:
        # about a fill that is 0: torchvision blends another one twice, which draws a seam along the edges
        zero = colour.to(picture.device)
        moved: Tensor = affine(picture - zero)
        return moved.add_(zero)

    return change


def _crop(least: float, _: Colour) -> Change:
    box = v2.RandomResizedCrop(1, scale=(least, 1.0))

    def change(picture: Tensor) -> Tensor:
        cropped: Tensor = v2.functional.resized_crop(
            picture, **box.make_params([picture]), size=list(picture.shape[1:]), antialias=True
        )
        return cropped

    return change


def _jitter(name: str) -> Callable[[float, Colour], Change]:
    def of(amount: float, _: Colour) -> Change:
        jitter = v2.ColorJitter(**{name: amount})
        return lambda picture: jitter(picture / 255.0) * 255.0  # of floats torchvision expects 0..1

    return of


def _erase(share: float, _: Colour) -> Change:
    change: Change = v2.RandomErasing(share, value=_ERASED)
    return change


def _trivial(_: float, fill: Colour) -> Change:
    trivial = v2.TrivialAugmentWide(fill=list(fill))
    return lambda picture: trivial(picture.round().to(torch.uint8)).float()  # it knows whole levels only


_CHANGES: Mapping[str, Callable[[float, Colour], Change]] = {
    "crop": _crop,
    **{name: _jitter(name) for name in ("brightness", "contrast", "saturation", "hue")},
    "erase": _erase,
    "trivial": _trivial,
}
NAMES = frozenset({*_AXES, *_AFFINE, *_CHANGES})
"""Every augmentation there is; `shared.training_keys` says what their amounts mean."""
