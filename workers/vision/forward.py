"""One forward pass as scoring and holdout scoring both do it: a view of resized pictures through one network."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shared.domain.ensemble import Input
from shared.domain.views import ViewSpec
from workers.vision.devices import DTYPES
from workers.vision.preprocessing import normalise, resize, view


@torch.inference_mode()
def logits(
    module: Callable[[Tensor], Tensor],
    batch: Tensor,
    spec: ViewSpec,
    given: Input,
    precision: str,
    inputs: Tensor | None = None,
) -> Tensor:
    """float32 [n, classes] of resized pictures [n, 3, size, size] in 0..255, computed in the resolved `precision`.

    `module` is in eval mode with float32 weights. What it takes is written to `inputs`, of the batch's shape, where it
    is given; where `given` has no mean, it takes the pictures as they are.
    """
    seen = view(batch, spec, given)
    inputs = normalise(seen, given.mean, given.std, inputs) if given.mean else seen
    with torch.autocast(batch.device.type, dtype=DTYPES[precision], enabled=precision != "float32"):
        outputs = module(inputs)
    return outputs.float()


def _softmax(of: Tensor) -> Tensor:
    return of.softmax(1)


@torch.inference_mode()
def forward_probabilities(
    module: nn.Module,
    pictures: Sequence[Tensor],
    given: Input,
    views: Sequence[ViewSpec],
    *,
    device: torch.device,
    precision: str,
    batch_images: int,
    probabilities: Callable[[Tensor], Tensor] = _softmax,
) -> npt.NDArray[np.float16]:
    """float16 [n, views, classes] of any number of decoded pictures, each uint8 [height, width, 3] on the CPU.

    `probabilities` makes them of logits [n, classes]. Every pass has exactly `batch_images` rows, the last ones
    padded, as in scoring.
    """
    parts = []
    for start in range(0, len(pictures), batch_images):
        some = pictures[start : start + batch_images]
        batch = torch.zeros((batch_images, 3, given.size, given.size), device=device)
        batch[: len(some)] = resize(some, given, device)
        of_views = [probabilities(logits(module, batch, spec, given, precision))[: len(some)] for spec in views]
        parts.append(torch.stack(of_views, dim=1).to(torch.float16).cpu().numpy())
    return np.concatenate(parts)
