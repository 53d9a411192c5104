"""From decoded pictures to what a network takes: the one way for training, scoring and one-off answers.

Where a picture stands among others never changes its tensor: on a CPU each one is interpolated by itself, because
vectorised kernels may round the ends of a larger tensor differently.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.domain.ensemble import Input
from shared.domain.views import ViewSpec

_GROUP_PIXELS = 2**26  # 768 MiB as float32: bounds the device memory that large pictures take


def resize(pictures: Sequence[Tensor], given: Input, device: torch.device) -> Tensor:
    """Pictures (each uint8 [height, width, 3] on the CPU) as float32 [n, 3, size, size] in 0..255 on `device`.

    `squash` ignores the aspect ratio, `crop` takes the centre square, `pad` keeps everything and fills up with
    `pad_colour`.
    """
    out = torch.empty((len(pictures), 3, given.size, given.size), device=device)
    for positions in _groups(pictures):
        shape = (len(positions), *pictures[positions[0]].shape)
        group = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        torch.stack([pictures[i] for i in positions], out=group)
        resize_group(group, given, out, np.array(positions))
    return out


def resize_group(group: Tensor, given: Input, out: Tensor, rows: npt.NDArray[np.int64]) -> None:
    """As `resize`: pictures of one size, uint8 [n, height, width, 3] on the CPU, into these ascending rows of `out`."""
    if out.device.type == "cuda":
        group = group.pin_memory().to(out.device, non_blocking=True)
    fitted = _fit(group.permute(0, 3, 1, 2), given)
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and out.device.type == "cpu":
        np.copyto(out[first : last + 1].numpy(), fitted.numpy())  # in this thread, see `_normalise_each`
    elif last - first == len(rows) - 1:
        out[first : last + 1].copy_(fitted)
    else:
        out[torch.from_numpy(rows).to(out.device)] = fitted.to(out.dtype)


def view(batch: Tensor, spec: ViewSpec, given: Input) -> Tensor:
    """One variation of resized pictures [n, 3, size, size]: its box brought back to the full size, then mirrored."""
    if not spec.whole:
        top, left, height, width = (round(fraction * given.size) for fraction in spec.box)
        batch = _interpolate(batch[:, :, top : top + height, left : left + width], given, (given.size, given.size))
    return batch.flip(3) if spec.mirrored else batch


def normalise(batch: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor | None = None) -> Tensor:
    """Values 0..255 as (value / 255 - mean) / std per channel, float32, channels-last in memory; the shape stays.

    They go to `out`, channels-last and not `batch` itself, by default to a new tensor.
    """
    count, channels, height, width = batch.shape
    if out is None:
        out = torch.empty((count, height, width, channels), device=batch.device).permute(0, 3, 1, 2)
    # in rows: three values at a time, as the channels alone would give, are too few for vector instructions
    target = out.permute(0, 2, 3, 1).view(count, height * width * channels)
    if batch.device.type == "cpu":
        _normalise_each(batch, mean, std, target)
    else:
        rows = target.view(-1, width * channels)
        out.copy_(batch)
        scale = torch.tensor([255.0 * s for s in std], device=batch.device).repeat(width)
        rows.sub_(torch.tensor([255.0 * m for m in mean], device=batch.device).repeat(width)).div_(scale)
    return out


def _normalise_each(batch: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor) -> None:
    """Picture by picture, which the processor's cache holds, and in this thread: torch's would wait for those that
    decode."""
    shift, scale = (_plane(tuple(values), batch.shape[2] * batch.shape[3]) for values in (mean, std))
    for values, target in zip(batch.permute(0, 2, 3, 1).reshape(out.shape).numpy(), out.numpy(), strict=True):
        np.copyto(target, values)
        np.subtract(target, shift, out=target)
        np.divide(target, scale, out=target)


@functools.lru_cache(maxsize=32)
def _plane(values: tuple[float, ...], pixels: int) -> npt.NDArray[np.float32]:
    """255 times these values of the channels, for every pixel."""
    return np.tile(np.array([255.0 * value for value in values], np.float32), pixels)


def _groups(pictures: Sequence[Tensor]) -> Iterator[list[int]]:
    """Positions of equally large pictures, by size, few enough together for the device."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for position, picture in enumerate(pictures):
        by_size.setdefault(tuple(picture.shape), []).append(position)
    for (height, width, _), positions in by_size.items():
        together = max(1, _GROUP_PIXELS // (height * width))
        for start in range(0, len(positions), together):
            yield positions[start : start + together]


def _fit(group: Tensor, given: Input) -> Tensor:
    height, width = group.shape[2:]
    side = given.size
    if given.fit == "crop":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        group = group[:, :, top : top + short, left : left + short]
    if given.fit != "pad" or height == width:
        return _interpolate(group, given, (side, side))
    long = max(height, width)
    inner = max(1, round(side * height / long)), max(1, round(side * width / long))
    top, left = (side - inner[0]) // 2, (side - inner[1]) // 2
    colour = torch.tensor(given.pad_colour, dtype=torch.float32, device=group.device).view(1, 3, 1, 1)
    out = colour.repeat(len(group), 1, side, side)
    out[:, :, top : top + inner[0], left : left + inner[1]] = _interpolate(group, given, inner)
    return out


def _interpolate(batch: Tensor, given: Input, size: tuple[int, int]) -> Tensor:
    if tuple(batch.shape[2:]) == size:
        return batch
    if batch.device.type == "cpu" and len(batch) > 1:
        return torch.cat([_interpolate(batch[i : i + 1], given, size) for i in range(len(batch))])
    batch = batch.to(torch.float32, memory_format=torch.contiguous_format)
    if given.interpolation == "nearest":
        return functional.interpolate(batch, size, mode="nearest-exact")
    resized = functional.interpolate(
        batch, size, mode=given.interpolation, align_corners=False, antialias=given.antialias
    )
    return resized.clamp_(0, 255) if given.interpolation == "bicubic" else resized
