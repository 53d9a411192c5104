import dataclasses

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from shared.domain import views
from shared.domain.ensemble import Input
from tests.engine_parts import CPU, SETTINGS, TAXONOMY, Colours, Network, chunk, ensemble
from workers.scoring.engine import Device, Engine, Policies
from workers.vision.decode import DecodeLimits, decode
from workers.vision.forward import forward_probabilities
from workers.vision.preprocessing import normalise, resize, view

FITS = ("squash", "crop", "pad")
SIZES = ((180, 180), (60, 200), (4000, 3000))


def scene(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, (x * 7 + y * 13) % 256], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    return [simplejpeg.encode_jpeg(scene(height, width)) for height, width in SIZES]


def tensors(*shapes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.from_numpy(scene(*shape)) for shape in shapes]


@pytest.mark.parametrize("fit", FITS)
def test_training_scoring_and_one_off_answers_see_the_same_tensors(photographs, fit):
    given = Input(size=96, fit=fit, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    limits = DecodeLimits(SETTINGS.decode_cap_pixels, SETTINGS.refuse_pixels, given.size)
    pictures = [torch.from_numpy(decode(content, limits)) for content in photographs]
    training = normalise(resize(pictures, given, CPU), given.mean, given.std)

    network = Network(Colours(1), given)
    engine = Engine(
        dataclasses.replace(ensemble(["a"]), views=("plain",)),
        TAXONOMY,
        {"a": network},
        None,
        Policies("none", "none", skip_decided=True, own_source=False),
        on=Device(CPU, "float32", batch_images=4),
        settings=SETTINGS,
    )
    list(engine.run(iter([chunk([photographs[:1], photographs[1:]])])))
    (scoring,) = network.module.inputs
    one_off = []
    for content in photographs:
        engine.answer([content])
        one_off.append(network.module.inputs.pop())
    engine.close()

    assert pictures[2].shape == (2000, 1500, 3)
    assert torch.equal(scoring[:3], training)
    assert torch.equal(torch.cat(one_off), training)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_a_picture_does_not_depend_on_its_neighbours(fit, interpolation):
    given = Input(size=31, fit=fit, interpolation=interpolation)
    pictures = tensors((50, 40), (31, 31), (50, 40), (10, 90), (50, 40))
    together = resize(pictures, given, CPU)

    for position, picture in enumerate(pictures):
        assert torch.equal(resize([picture], given, CPU)[0], together[position])
    for name in views.NAMES:
        spec = views.parse(name)
        varied = view(together, spec, given)
        assert varied.shape == together.shape
        for position in range(len(pictures)):
            assert torch.equal(view(together[position : position + 1], spec, given)[0], varied[position])


@pytest.mark.parametrize(("interpolation", "resample"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_antialiased_resizing_agrees_with_pillow(interpolation, resample):
    pixels = scene(200, 120)
    reference = np.asarray(Image.fromarray(pixels).resize((48, 48), resample)).astype(np.float32)

    resized = resize([torch.from_numpy(pixels)], Input(size=48, interpolation=interpolation), CPU)

    assert np.abs(resized[0].permute(1, 2, 0).numpy() - reference).max() < 1
    assert 0 <= resized.min() <= resized.max() <= 255


def test_without_antialias_resizing_is_sharper():
    (picture,) = tensors((200, 200))
    smooth, sharp = (resize([picture], Input(size=20, antialias=antialias), CPU) for antialias in (True, False))

    assert sharp[0, 2].std() > 2 * smooth[0, 2].std()


def test_crop_is_the_centre_square():
    (picture,) = tensors((30, 50))

    assert torch.equal(
        resize([picture], Input(size=30, fit="crop"), CPU)[0], picture[:, 10:40].permute(2, 0, 1).float()
    )


def test_pad_keeps_everything_and_fills_up_with_the_colour():
    (picture,) = tensors((20, 40))
    padded = resize([picture], Input(size=40, fit="pad", pad_colour=(1, 2, 3)), CPU)[0]

    assert torch.equal(padded[:, 10:30], picture.permute(2, 0, 1).float())
    assert torch.equal(padded[:, :10], torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1).expand(3, 10, 40))
    assert torch.equal(padded[:, 30:], padded[:, :10])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes_become_squares(fit, shape):
    assert resize(tensors(shape), Input(size=16, fit=fit), CPU).shape == (1, 3, 16, 16)


def test_views_mirror_and_crop():
    given = Input(size=16)
    batch = resize(tensors((16, 16)), given, CPU)

    assert view(batch, views.parse("plain"), given) is batch
    assert torch.equal(view(batch, views.parse("hflip"), given), batch.flip(3))
    corner = view(batch, views.parse("crop_bottom_right"), given)
    assert torch.allclose(corner[:, :, -1, -1], batch[:, :, -1, -1])
    assert corner[0, 0, 0, 0] > batch[0, 0, 0, 0] + 20
    assert torch.equal(view(batch, views.parse("crop_bottom_right_hflip"), given), corner.flip(3))


def test_normalise_takes_mean_and_deviation_of_values_up_to_one():
    batch = torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    out = normalise(batch, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))

    assert torch.allclose(out[:, :, 0, 0], torch.tensor([[-1.0, -1.0, 0.0], [1.0, 3.0, 1.0]]))
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_holdout_probabilities_run_at_one_padded_shape():
    network = Network(Colours(3))
    pictures = tensors(*[(8, 8)] * 3, (9, 5), (8, 8))
    specs = [views.parse("plain"), views.parse("hflip")]
    options = {"device": CPU, "precision": "float32", "batch_images": 4}

    together = forward_probabilities(network.module, pictures, network.input, specs, **options)

    assert together.dtype == np.float16
    assert together.shape == (5, 2, 5)
    assert {shape[0] for shape in network.module.shapes} == {4}
    assert np.allclose(together.sum(axis=2), 1, atol=1e-2)
    assert (together[4] == forward_probabilities(network.module, pictures[4:], network.input, specs, **options)).all()
