from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared import layout
from shared.adapters.directory import DirectoryObjects
from shared.domain import splits, taxonomy
from shared.domain.ensemble import Split
from shared.domain.errors import BadInputError, FailedError
from shared.packs import Manifest, read_index
from workers.training.dataset import Parts, divide, epoch_bits, epoch_order
from workers.training.pictures import PictureSource
from workers.vision.decode import DecodeLimits

SPLIT = Split(seed=3, holdout=0.2, blend=0.1)
Make = Callable[..., Manifest]


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path)


def parts(objects: DirectoryObjects, manifest: Manifest, split: Split = SPLIT) -> Parts:
    table = taxonomy.parse(objects.read(layout.categories(manifest.dataset)), "categories.csv")
    return divide(objects, manifest, table, split)


def test_no_product_is_in_two_parts_and_watched_ones_are_not_trained_on(
    objects: DirectoryObjects, make_dataset: Make
) -> None:
    manifest = make_dataset(objects, products=200)
    found = parts(objects, manifest)
    index = read_index(objects, "tiny", manifest.packs[0])
    part = splits.assign(SPLIT, index.product_id, index.first_image, index.image_md5)
    watched = splits.watch(SPLIT.seed, index.product_id)
    assert set(found.training.product_id) == set(index.product_id[(part == splits.TRAINING) & ~watched])
    assert set(found.watch.product_id) == set(index.product_id[(part == splits.TRAINING) & watched])
    held = found.held_out.product_id
    assert set(held[found.part == splits.HOLDOUT]) == set(index.product_id[part == splits.HOLDOUT])
    assert set(held[found.part == splits.BLEND]) == set(index.product_id[part == splits.BLEND])
    assert watched.any()
    assert (part == splits.BLEND).any()


def test_a_share_of_the_training_part_lies_in_a_larger_one_and_all_is_held_out(
    objects: DirectoryObjects, make_dataset: Make
) -> None:
    manifest = make_dataset(objects, products=400)
    table = taxonomy.parse(objects.read(layout.categories("tiny")), "categories.csv")
    whole = parts(objects, manifest)
    half, quarter = (divide(objects, manifest, table, SPLIT, share=share) for share in (0.5, 0.25))
    for name in ("training", "watch"):
        of_whole, of_half, of_quarter = (set(getattr(one, name).product_id) for one in (whole, half, quarter))
        assert of_quarter < of_half < of_whole
    products = len(set(whole.training.product_id))
    assert len(set(half.training.product_id)) / products == pytest.approx(0.5, abs=0.1)
    assert half.held_out.row.tolist() == whole.held_out.row.tolist()
    assert half.seen.tolist() == whole.seen.tolist()
    with pytest.raises(
        BadInputError, match="are left to train on, at least 2 are needed; correct the member's key 'sh"
    ):
        divide(objects, manifest, table, SPLIT, share=1e-6)


def test_an_image_lies_where_its_row_says(objects: DirectoryObjects, make_dataset: Make) -> None:
    manifest = make_dataset(objects)
    training = parts(objects, manifest).training
    pack = objects.read(training.pack_keys[0])
    for i in range(len(training)):
        content = pack[training.offset[i] : training.offset[i] + training.length[i]]
        assert content.startswith(b"\xff\xd8")
        assert content.endswith(b"\xff\xd9")
        assert training.class_index[i] == training.product_id[i] % 3
    assert set(training.number) == {0, 1}


def test_images_that_follow_others_stay_what_they_are(objects: DirectoryObjects, make_dataset: Make) -> None:
    found = parts(objects, make_dataset(objects, products=200))
    both = found.training.followed_by(found.watch)
    assert both.pack_keys == found.training.pack_keys
    assert both.row.tolist() == [*found.training.row, *found.watch.row]
    assert both.offset.tolist() == [*found.training.offset, *found.watch.offset]
    last = both.take(np.arange(len(both)) >= len(found.training))
    assert last.class_index.tolist() == found.watch.class_index.tolist()
    assert last.pack.dtype == found.watch.pack.dtype


def test_held_out_products_that_share_an_image_with_training_are_marked(
    objects: DirectoryObjects, make_dataset: Make
) -> None:
    manifest = make_dataset(objects, products=200)
    found = parts(objects, manifest)
    index = read_index(objects, "tiny", manifest.packs[0])
    part = np.repeat(
        splits.assign(SPLIT, index.product_id, index.first_image, index.image_md5), np.diff(index.first_image)
    )
    owner = np.repeat(index.product_id, np.diff(index.first_image))
    known = {tuple(md5) for md5 in index.image_md5[part == splits.TRAINING].tolist()}
    expected = {int(p) for p, md5 in zip(owner, index.image_md5.tolist(), strict=True) if tuple(md5) in known}
    assert [bool(seen) for seen in found.seen] == [int(p) in expected for p in found.held_out.product_id]
    assert found.seen.any()
    assert not found.seen.all()


def test_a_split_that_drops_duplicate_images_trains_on_each_once(objects: DirectoryObjects, make_dataset: Make) -> None:
    manifest = make_dataset(objects, products=100)
    index = read_index(objects, "tiny", manifest.packs[0])
    dropping = parts(objects, manifest, replace(SPLIT, drop_duplicate_images=True)).training
    md5 = [tuple(index.image_md5[row].tolist()) for row in dropping.row]
    assert len(md5) == len(set(md5))
    assert len(dropping) < len(parts(objects, manifest).training)


def test_order_and_augmentation_depend_on_seed_epoch_product_and_image_alone(
    objects: DirectoryObjects, make_dataset: Make
) -> None:
    training = parts(objects, make_dataset(objects, products=200)).training
    order = epoch_order(training, seed=1, epoch=2)
    assert sorted(order) == list(range(len(training)))
    assert order.tolist() != epoch_order(training, 1, 3).tolist()
    assert order.tolist() != epoch_order(training, 2, 2).tolist()
    half = training.take(training.product_id % 2 == 0)  # fewer products do not reorder the rest
    assert half.row[epoch_order(half, 1, 2)].tolist() == [r for r in training.row[order] if r in set(half.row)]
    bits = epoch_bits(training, 1, 2, "hflip")
    assert epoch_bits(half, 1, 2, "hflip").tolist() == bits[training.product_id % 2 == 0].tolist()
    assert 0.3 < bits.mean() < 0.7
    second = training.number == 1
    assert (bits[second] != bits[np.flatnonzero(second) - 1]).any()  # images of one product are flipped apart


class CountingObjects(DirectoryObjects):
    """Counts range reads."""

    reads = 0

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += 1
        return super().read(key, offset, length)


@pytest.mark.parametrize(("cache_bytes", "second_reads"), [(0, 8), (24 * 24 * 3 * 5, 3), (2**20, 0)])
def test_pictures_stay_in_memory_as_far_as_there_is_room(
    tmp_path: Path, make_dataset: Make, cache_bytes: int, second_reads: int
) -> None:
    objects = CountingObjects(tmp_path)
    training = parts(objects, make_dataset(objects)).training
    rows = [np.arange(4), np.arange(4, 8)]
    with PictureSource(objects, training, DecodeLimits(), threads=2, cache_bytes=cache_bytes) as source:
        first = list(source.batches(rows))
        objects.reads = 0
        second = list(source.batches(rows))
    assert objects.reads == second_reads
    for one, other in zip(first, second, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert all(torch.equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))


def test_undecodable_images_are_left_out_with_their_reason(objects: DirectoryObjects, make_dataset: Make) -> None:
    spoiled = frozenset({102, 107, 111})
    training = parts(objects, make_dataset(objects, spoiled=spoiled)).training
    with PictureSource(objects, training, DecodeLimits(), threads=2, cache_bytes=0) as source:
        (batch,) = source.batches([np.arange(len(training))])
    bad = set(np.flatnonzero(np.isin(training.product_id, list(spoiled)) & (training.number == 0)).tolist())
    assert bad
    assert set(batch.undecodable) == bad
    assert set(batch.rows.tolist()) == set(range(len(training))) - bad
    assert len(batch.pictures) == len(batch.rows)
    assert all(batch.undecodable.values())


def test_a_pack_that_is_cut_off_stops_the_training(objects: DirectoryObjects, make_dataset: Make) -> None:
    training = parts(objects, make_dataset(objects)).training
    (key,) = training.pack_keys
    objects.put(key, objects.read(key)[: int(training.offset[-1]) + 5])
    with (
        PictureSource(objects, training, DecodeLimits(), threads=1, cache_bytes=0) as source,
        pytest.raises(FailedError, match=f"{key} ends before offset"),
    ):
        list(source.batches([np.arange(len(training))]))
