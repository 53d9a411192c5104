"""Networks that answer once for a product, from a few pixels, and the slow way to what they say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from shared.domain import views
from shared.domain.ensemble import Head, Input
from shared.domain.product_images import Joint
from tests.engine_parts import CLASSES, CPU, random_picture
from workers.vision.decode import DecodeLimits, decode
from workers.vision.heads import Fusing, Headed
from workers.vision.preprocessing import resize, view

GIVEN = Input(size=8, mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), pad_colour=(250, 240, 230))
SPECS = [views.parse(name) for name in ("plain", "hflip", "crop_top_left")]
TILED, GATED, MAXIMUM = Joint(kind="tiled"), Joint(kind="fused", most=3), Joint(kind="fused", by="maximum", most=2)
BROKEN = b"\xff\xd8\xffthis is no picture"


class Corners(nn.Module):
    """Logits from a few pixels, by operations that round alike in any batch; bright places say more."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (3, 4, CLASSES)).astype(np.float32))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.shapes.append(tuple(inputs.shape))
        found = torch.zeros(len(inputs), CLASSES)
        for channel in range(3):
            for place, (y, x) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
                found = found + inputs[:, channel, y, x, None] * self.weights[channel, place]
        return found


class Pixels(nn.Module):
    """A feature map of 3 channels, 2 x 2: the pixels of the four corners of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.shapes.append(tuple(inputs.shape))
        return inputs[:, :, ::7, ::7] * self.scale


def fused_network(joint: Joint) -> Headed:
    torch.manual_seed(5)
    kind = "average" if joint.by == "gated" else "max"
    return Headed(Pixels(), Head(kind=kind, hidden=4), CLASSES, 8, joint).eval()


def network(joint: Joint) -> nn.Module:
    return Corners(3) if joint.kind == "tiled" else fused_network(joint)


def slow_tiles(pictures: Sequence[Tensor], joint: Joint, spec: views.ViewSpec) -> Tensor:
    """One product's input, pixel by pixel."""
    edge = GIVEN.size // joint.side
    out = torch.tensor(GIVEN.pad_colour, dtype=torch.float32).view(3, 1, 1).repeat(1, GIVEN.size, GIVEN.size)
    tile = replace(GIVEN, size=edge)
    for place, picture in enumerate(pictures[: joint.most]):
        (resized,) = view(resize([picture], tile, CPU), spec, tile)
        for y in range(edge):
            for x in range(edge):
                out[:, place // joint.side * edge + y, place % joint.side * edge + x] = resized[:, y, x]
    return out


def slow(module: nn.Module, joint: Joint, pictures: Sequence[Tensor], spec: views.ViewSpec) -> np.ndarray:
    """Logits of one product."""
    shift, scale = (torch.tensor(values).view(3, 1, 1) * 255 for values in (GIVEN.mean, GIVEN.std))
    with torch.no_grad():
        if joint.kind == "tiled":
            return module((slow_tiles(pictures, joint, spec)[None] - shift) / scale)[0].numpy()
        assert isinstance(module, Headed)
        assert isinstance(module.head, Fusing)
        said = []
        for picture in pictures[: joint.most]:
            (seen,) = view(resize([picture], GIVEN, CPU), spec, GIVEN)
            corners = ((seen - shift) / scale)[:, ::7, ::7].flatten(1)
            pooled = corners.mean(1) if joint.by == "gated" else corners.amax(1)
            if module.head.gate is not None:
                pooled = pooled * torch.sigmoid(module.head.gate.weight @ pooled + module.head.gate.bias)
            said.append(pooled)
        fused = torch.stack(said).sum(0) if joint.by == "gated" else torch.stack(said).amax(0)
        return module.head.answer(fused[None])[0].numpy()


def decoded(content: bytes) -> Tensor:
    return torch.from_numpy(decode(content, DecodeLimits()))


def products_of(seed: int, counts: Sequence[int]) -> list[list[bytes]]:
    noise = np.random.default_rng(seed)
    return [[random_picture(noise) for _ in range(count)] for count in counts]
