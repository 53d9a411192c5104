import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from shared.domain.ensemble import Augmentation
from shared.training_keys import AUGMENTATIONS
from workers.training import augment
from workers.training.augment import EpochAugmentation
from workers.training.dataset import Images, epoch_bits

SIDE = 33
PRODUCTS = 40


def images_of(product_id: list[int], number: list[int]) -> Images:
    none = np.zeros(len(product_id), dtype=np.int64)
    products, numbers = np.array(product_id, dtype=np.int64), np.array(number, dtype=np.int64)
    return Images((), none.astype(np.int32), none, none, products, numbers, none, np.arange(len(products)))


IMAGES = images_of([1_000 + i // 2 for i in range(2 * PRODUCTS)], [i % 2 for i in range(2 * PRODUCTS)])
ROWS = np.arange(len(IMAGES))


def of(*names: str) -> tuple[Augmentation, ...]:
    """The named augmentations with the amounts that error messages suggest."""
    amounts = ((name, AUGMENTATIONS[name]) for name in names)
    return tuple(Augmentation(name=name, amount=0.0 if span is None else span.example) for name, span in amounts)


def augmented(given: tuple[Augmentation, ...], batch: Tensor, *, seed: int = 1, epoch: int = 0) -> Tensor:
    return EpochAugmentation(given, IMAGES, seed, epoch).apply(batch, ROWS[: len(batch)])


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Smooth colour gradients, no two alike: float32 [80, 3, 33, 33] in 0..255."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand((len(IMAGES), 3, 4, 4), generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear").clamp(0, 255)


EVERY = [of(name) for name in AUGMENTATIONS] + [of("rotate", "shear", "translate"), of(*AUGMENTATIONS)]
IDS = ["+".join(one.name for one in given) if len(given) < 5 else "all" for given in EVERY]


def test_every_name_that_a_file_may_hold_is_implemented() -> None:
    assert set(AUGMENTATIONS) == augment.NAMES


@pytest.mark.parametrize("given", EVERY, ids=IDS)
def test_a_picture_depends_on_seed_epoch_product_and_image_alone(
    given: tuple[Augmentation, ...], pictures: Tensor
) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    whole = augmented(given, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    assert (whole.shape, whole.dtype) == (pictures.shape, torch.float32)
    assert whole.min() >= 0
    assert whole.max() <= 255

    torch.manual_seed(78)
    rows = np.array([61, 3, 17, 60])
    epoch = EpochAugmentation(given, IMAGES, 1, 0)
    assert torch.equal(epoch.apply(pictures[rows], rows), whole[rows])
    fewer = images_of([1_030, 1_008], [1, 1])  # rows 61 and 17 among other images
    alone = EpochAugmentation(given, fewer, 1, 0).apply(pictures[[61, 17]], np.arange(2))
    assert torch.equal(alone, whole[[61, 17]])

    same = torch.stack([pictures[0]] * len(pictures))
    first = augmented(given, same)
    assert len({tuple(one.flatten().tolist()) for one in first}) > 1  # images of one epoch differ
    for other in (augmented(given, same, epoch=1), augmented(given, same, seed=2)):
        assert not torch.equal(first, other)


def test_no_augmentation_changes_nothing(pictures: Tensor) -> None:
    assert torch.equal(augmented((), pictures), pictures)


@pytest.mark.parametrize(("name", "axis"), [("hflip", 2), ("vflip", 1)])
def test_flips_mirror_exactly_the_pictures_that_their_bits_choose(name: str, axis: int, pictures: Tensor) -> None:
    bits = epoch_bits(IMAGES, 1, 0, name)
    expected = torch.stack([one.flip(axis) if bit else one for bit, one in zip(bits, pictures, strict=True)])
    assert torch.equal(augmented(of(name), pictures), expected)
    assert 0.3 < bits.mean() < 0.7


def _point(x: int, y: int, side: int = 101) -> Tensor:
    """White with one soft dark spot: float32 [1, 3, side, side]."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    spot = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18.0)
    return (255 * (1 - spot)).expand(1, 3, side, side)


def _spots(batch: Tensor) -> Tensor:
    """Where each picture's dark spot lies relative to the centre, (x, y): float32 [n, 2]."""
    weight = (255 - batch[:, 0]).clamp(min=0)
    axis = torch.arange(batch.shape[-1], dtype=torch.float32) - (batch.shape[-1] - 1) / 2
    mass = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * axis).sum(1) / mass, (weight.sum(2) * axis).sum(1) / mass], dim=1)


def test_rotations_keep_the_distance_and_stay_within_the_angle() -> None:
    batch = _point(80, 50).repeat(len(IMAGES), 1, 1, 1)  # 30 px right of the centre
    found = _spots(augmented((Augmentation(name="rotate", amount=20.0),), batch))
    torch.testing.assert_close(found.norm(dim=1), torch.full((len(IMAGES),), 30.0), atol=0.1, rtol=0)
    angles = torch.rad2deg(torch.atan2(found[:, 1], found[:, 0]))
    assert -20.2 < angles.min() < -12
    assert 12 < angles.max() < 20.2


def test_shear_moves_along_x_by_the_tangent_of_its_angle_at_most() -> None:
    batch = _point(50, 80).repeat(len(IMAGES), 1, 1, 1)  # 30 px below the centre
    found = _spots(augmented((Augmentation(name="shear", amount=30.0),), batch))
    torch.testing.assert_close(found[:, 1], torch.full((len(IMAGES),), 30.0), atol=0.3, rtol=0)
    assert 10 < found[:, 0].abs().max() < 30 * 0.5774 + 0.2


def test_translations_move_by_whole_pixels_within_the_share() -> None:
    batch = _point(50, 50).repeat(len(IMAGES), 1, 1, 1)
    found = _spots(augmented((Augmentation(name="translate", amount=0.2),), batch))
    torch.testing.assert_close(found, found.round(), atol=0.05, rtol=0)
    assert 14 < found.abs().max() < 20.3
    assert (found[:, 0] - found[:, 1]).abs().max() > 5  # the axes move apart


def test_a_known_angle_is_the_librarys_own_rotation() -> None:
    batch = _point(80, 50)
    turned = augmented((Augmentation(name="rotate", amount=40.0),), batch)
    spot = _spots(turned)[0]
    angle = float(torch.rad2deg(torch.atan2(spot[1], spot[0])))
    expected = 255 - v2.functional.rotate(255 - batch, -angle, v2.InterpolationMode.BILINEAR)
    torch.testing.assert_close(turned, expected, atol=2.0, rtol=0)
    assert abs(angle) > 1


def test_empty_corners_take_the_fill() -> None:
    black = torch.zeros((len(IMAGES), 3, SIDE, SIDE))
    given = (Augmentation(name="translate", amount=0.3),)
    red = EpochAugmentation(given, IMAGES, 1, 0, fill=(200, 10, 20)).apply(black, ROWS)
    colours = {tuple(one) for one in red.permute(0, 2, 3, 1).reshape(-1, 3).round().int().tolist()}
    assert colours == {(0, 0, 0), (200, 10, 20)}
    white = augmented(given, black)
    assert set(white.unique().round().int().tolist()) == {0, 255}


def test_a_white_picture_keeps_no_trace_of_where_its_edges_went() -> None:
    white = torch.full((len(IMAGES), 3, SIDE, SIDE), 255.0)
    for given in (of("rotate", "shear", "translate"), of("crop"), of("rotate")):
        torch.testing.assert_close(augmented(given, white), white, atol=1e-3, rtol=0)
    moved = augmented(of("trivial"), white)
    assert all((one == one[0, 0, 0]).all() for one in moved)  # darker perhaps, but of one colour


def test_a_crop_keeps_at_least_its_share_of_the_area() -> None:
    x = torch.linspace(0, 255, 101).expand(101, 101)
    ramps = torch.stack([x, x.T, x]).repeat(len(IMAGES), 1, 1, 1)  # a picture's values tell where they come from
    found = augmented((Augmentation(name="crop", amount=0.5),), ramps)
    width = (found[:, 0].amax((1, 2)) - found[:, 0].amin((1, 2))) / 255
    height = (found[:, 1].amax((1, 2)) - found[:, 1].amin((1, 2))) / 255
    area = width * height
    assert 0.45 < area.min() < 0.6
    assert 0.85 < area.max() <= 1
    assert ((width / height) > 0.7).all()
    assert ((width / height) < 1.4).all()


def test_brightness_multiplies_and_contrast_spreads_around_the_mean(pictures: Tensor) -> None:
    dark = pictures / 3
    factors = augmented((Augmentation(name="brightness", amount=0.3),), dark) / dark.clamp(min=1e-3)
    spread = factors.amax((1, 2, 3)) - factors.amin((1, 2, 3))
    assert spread.max() < 1e-3
    assert 0.7 <= factors.mean((1, 2, 3)).min() < 0.8
    assert 1.2 < factors.mean((1, 2, 3)).max() <= 1.3001
    middle = pictures * 0.4 + 76.5  # no value is cut off at 0 or 255
    wide = augmented((Augmentation(name="contrast", amount=0.3),), middle)
    ratio = wide.std((1, 2, 3)) / middle.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.8
    assert 1.2 < ratio.max() < 1.31


def test_grey_has_neither_saturation_nor_hue_to_change(pictures: Tensor) -> None:
    grey = pictures[:, :1].repeat(1, 3, 1, 1)
    for name in ("saturation", "hue"):
        torch.testing.assert_close(augmented(of(name), grey), grey, atol=0.01, rtol=1e-4)
    pure = torch.zeros((len(IMAGES), 3, 2, 2))
    pure[:, 0] = 255
    turned = augmented((Augmentation(name="hue", amount=0.05),), pure)  # red towards yellow or magenta: 0.05 * 6 * 255
    assert (turned[:, 0] == 255).all()
    other = turned[:, 1:].amax((1, 2, 3))
    assert 60 < other.max() < 76.6
    assert (turned[:, 1:].amin((1, 2, 3)) < 0.01).all()


def test_erasing_covers_a_box_of_about_its_share_of_pictures() -> None:
    black = torch.zeros((len(IMAGES), 3, SIDE, SIDE))
    found = augmented((Augmentation(name="erase", amount=0.25),), black)
    erased = (found == torch.tensor([125.0, 122.0, 114.0]).view(1, 3, 1, 1)).all(1)
    assert (erased | (found == 0).all(1)).all()
    share = erased.float().mean((1, 2))
    assert 0.1 < (share > 0).float().mean() < 0.4
    assert share.max() <= 0.36
    for one in erased[share > 0]:
        rows, columns = one.any(1).sum(), one.any(0).sum()
        assert one.sum() == rows * columns


def test_augmentations_apply_in_the_order_of_the_file() -> None:
    black = torch.zeros((len(IMAGES), 3, SIDE, SIDE))
    erase, brighten = Augmentation(name="erase", amount=1.0), Augmentation(name="brightness", amount=0.5)
    then_brighter = augmented((erase, brighten), black).amax((1, 2, 3))
    then_erased = augmented((brighten, erase), black).amax((1, 2, 3))
    assert len(then_erased.unique()) == 1
    assert len(then_brighter.unique()) > 10


def test_neighbouring_affine_changes_are_one_and_draw_the_same_angle() -> None:
    batch = _point(80, 50).repeat(len(IMAGES), 1, 1, 1)
    rotate, translate = Augmentation(name="rotate", amount=20.0), Augmentation(name="translate", amount=0.1)
    both, turned = _spots(augmented((rotate, translate), batch)), _spots(augmented((rotate,), batch))
    shift = both - turned
    torch.testing.assert_close(shift, shift.round(), atol=0.1, rtol=0)
    assert 6 < shift.abs().max() < 10.3
