"""From decoded pictures to what a network takes: the one way for training, scoring and one-off answers.

Where a picture stands among others never changes its tensor: on a CPU each one is interpolated by itself, because
vectorised kernels may round the ends of a larger tensor differently.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from shared.domain.ensemble import Input
from shared.domain.views import ViewSpec

_GROUP_PIXELS = 2**26  # 768 MiB as float32: bounds the device memory that large pictures take


def resize(pictures: Sequence[Tensor], given: Input, device: torch.device, out: Tensor | None = None) -> Tensor:
    """Pictures (each uint8 [height, width, 3] on the CPU) as float32 [n, 3, size, size] in 0..255 on `device`.

    Pictures of one size travel and are interpolated as one group. `squash` ignores the aspect ratio, `crop` takes the
    centre square, `pad` keeps everything and fills up with `pad_colour`. They go to `out`, by default a new tensor.
    """
    if out is None:
        out = torch.empty((len(pictures), 3, given.size, given.size), device=device)
    for positions in _groups(pictures, given, device):
        if device.type == "cpu" and tuple(pictures[positions[0]].shape[:2]) == (given.size, given.size):
            for i in positions:  # straight to their rows
                out[i].copy_(pictures[i].permute(2, 0, 1))
            continue
        fitted = _fit(_upload([pictures[i] for i in positions], device), given)
        if len(positions) == len(pictures):
            out.copy_(fitted)
        else:
            out[torch.tensor(positions, device=device)] = fitted.to(out.dtype)
    return out


def view(batch: Tensor, spec: ViewSpec, given: Input) -> Tensor:
    """One variation of resized pictures [n, 3, size, size]: its box brought back to the full size, then mirrored."""
    if not spec.whole:
        top, left, height, width = (round(fraction * given.size) for fraction in spec.box)
        batch = _interpolate(batch[:, :, top : top + height, left : left + width], given, (given.size, given.size))
    return batch.flip(3) if spec.mirrored else batch


def normalise(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Values 0..255 as (value / 255 - mean) / std per channel, channels-last in memory; shape and dtype stay."""
    count, channels, height, width = batch.shape
    # row by row: three values at a time, as the channels alone would give, are too few for vector instructions
    rows = batch.permute(0, 2, 3, 1).reshape(count, height, width * channels)
    scale = torch.tensor([255.0 * s for s in std], device=batch.device).repeat(width)
    shift = torch.tensor([255.0 * m for m in mean], device=batch.device).repeat(width)
    return (rows - shift).div_(scale).view(count, height, width, channels).permute(0, 3, 1, 2)


def _groups(pictures: Sequence[Tensor], given: Input, device: torch.device) -> Iterator[list[int]]:
    """Positions of equally large pictures, by size, few enough together for the device."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for position, picture in enumerate(pictures):
        by_size.setdefault(tuple(picture.shape), []).append(position)
    for (height, width, _), positions in by_size.items():
        alone = device.type == "cpu" and (height, width) != (given.size, given.size)
        together = 1 if alone else max(1, _GROUP_PIXELS // (height * width))
        for start in range(0, len(positions), together):
            yield positions[start : start + together]


def _upload(group: Sequence[Tensor], device: torch.device) -> Tensor:
    """Equally large pictures as uint8 [n, 3, height, width] on the device; they travel from pinned memory."""
    stacked = torch.empty((len(group), *group[0].shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
    torch.stack(list(group), out=stacked)
    return stacked.to(device, non_blocking=True).permute(0, 3, 1, 2)


def _fit(group: Tensor, given: Input) -> Tensor:
    height, width = group.shape[2:]
    side = given.size
    if given.fit == "crop":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        group = group[:, :, top : top + short, left : left + short]
    if given.fit != "pad":
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
