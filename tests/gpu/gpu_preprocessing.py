"""Pictures become the same tensors on a GPU as on a processor, but for the last digits."""

import numpy as np
import pytest
import torch

from shared.domain import views
from shared.domain.ensemble import Input
from tests.engine_parts import CPU
from tests.gpu.conftest import CUDA
from workers.vision.preprocessing import normalise, resize, view

SHAPES = ((180, 180), (60, 200), (2000, 1500), (180, 180))


def scene(height: int, width: int) -> torch.Tensor:
    y, x = np.mgrid[:height, :width]
    return torch.from_numpy(np.stack([255 * y / height, 255 * x / width, (x * 7 + y * 13) % 256], 2).astype(np.uint8))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", sorted(views.NAMES))
def test_a_gpu_resizes_as_a_processor(fit, interpolation, name):
    given = Input(size=96, fit=fit, interpolation=interpolation, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pictures = [scene(*shape) for shape in SHAPES]

    ours, theirs = (
        normalise(view(resize(pictures, given, device), views.parse(name), given), given.mean, given.std).cpu()
        for device in (CUDA, CPU)
    )

    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, rtol=0, atol=2e-3)  # of values from -3 to 3


def test_a_picture_does_not_depend_on_its_neighbours():
    given = Input(size=96)
    pictures = [scene(*shape) for shape in SHAPES]
    together = resize(pictures, given, CUDA)

    for position, picture in enumerate(pictures):
        assert torch.allclose(resize([picture], given, CUDA)[0], together[position], rtol=0, atol=1e-3)
