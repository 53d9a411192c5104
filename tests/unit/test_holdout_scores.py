from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import holdout_scores, layout
from shared.adapters.directory import DirectoryObjects
from shared.domain import splits
from shared.domain.errors import BadInputError, FailedError
from shared.holdout_scores import HeldOut, Shared
from tests.holdout_scene import put_scores


@settings(max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(1, 12))
def test_files_start_with_a_product_and_hold_about_as_many_rows_as_asked(counts: list[int], rows: int) -> None:
    product_id = np.repeat(np.arange(len(counts)), counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holdout_scores, "FILE_ROWS", rows)
        starts = holdout_scores.file_starts(product_id)
    firsts = set(np.flatnonzero(np.r_[True, np.diff(product_id) != 0]).tolist())
    assert starts[0] == 0
    assert set(starts.tolist()) <= firsts
    lengths = np.diff([*starts, len(product_id)])
    assert lengths.min() > 0
    assert lengths.max() < rows + 2 * 5


def test_without_images_there_is_no_file() -> None:
    assert len(holdout_scores.file_starts(np.zeros(0, dtype=np.int64))) == 0


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path)


def held_out(product_id: list[int], *, dropped: tuple[int, ...] = (), blend: tuple[int, ...] = ()) -> HeldOut:
    """All images of these products in this order, but those of `dropped` rows."""
    ids = np.array(product_id)
    first = np.searchsorted(ids, ids)
    part = np.where(np.isin(ids, blend), splits.BLEND, splits.HOLDOUT).astype(np.int8)
    rows = np.arange(len(ids))
    whole = HeldOut(ids, rows - first, 10 * ids + rows - first, ids % 3, part, ids % 2 == 1)
    return whole.take(~np.isin(rows, dropped))


def test_shared_products_are_held_out_by_every_run_and_what_it_started_from(objects: DirectoryObjects) -> None:
    put_scores(objects, "a", held_out([1, 1, 2, 3, 3, 4, 5]))
    put_scores(objects, "b", held_out([1, 1, 3, 3, 4, 5, 6], dropped=(3,), blend=(5,)))
    put_scores(objects, "parent", held_out([1, 3, 5, 7]))
    both = Shared(objects, ["a", "b"])
    assert both.product_id.tolist() == [1, 3, 4]
    assert both.first_image.tolist() == [0, 2, 3, 4]
    assert both.class_index.tolist() == [1, 0, 1]
    assert both.seen.tolist() == [True, True, False]
    assert both.images.number.tolist() == [0, 1, 0, 0]
    assert Shared(objects, ["a", "b"], ["parent"]).product_id.tolist() == [1, 3]


def test_without_a_shared_product_the_remedy_is_told(objects: DirectoryObjects) -> None:
    put_scores(objects, "a", held_out([1, 2]))
    put_scores(objects, "b", held_out([3]))
    with pytest.raises(BadInputError, match="no product was held out by every member; name a combination"):
        Shared(objects, ["a", "b"])


def test_an_import_has_no_scores(objects: DirectoryObjects) -> None:
    with pytest.raises(BadInputError, match="run a: it has no holdout scores"):
        Shared(objects, ["a"])


@settings(max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=15), st.integers(1, 9), st.integers(1, 4000), st.data())
def test_blocks_give_every_image_its_scores(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], file_rows: int, block_bytes: int, data: st.DataObject
) -> None:
    objects = DirectoryObjects(tmp_path_factory.mktemp("objects"))
    ids = np.repeat(np.arange(1, len(counts) + 1), counts).tolist()
    dropped = data.draw(st.sets(st.integers(0, len(ids) - 2), max_size=3)) if len(ids) > 1 else set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holdout_scores, "FILE_ROWS", file_rows)
        patch.setattr(holdout_scores, "_BLOCK_BYTES", block_bytes)
        scores = {"a": put_scores(objects, "a", held_out(ids)), "b": None}
        scores["b"] = put_scores(objects, "b", held_out(ids, dropped=tuple(dropped)))
        shared = Shared(objects, ["a", "b"])
        blocks = list(shared.blocks(classes=3))
    assert [block.products.stop for block in blocks][-1] == len(shared.product_id)
    found = np.concatenate([block.scores for block in blocks])
    kept = ~np.isin(np.arange(len(ids)), list(dropped))
    np.testing.assert_array_equal(found[:, 0], scores["a"][kept])
    np.testing.assert_array_equal(found[:, 1], scores["b"])


def test_scores_of_other_classes_are_damage(objects: DirectoryObjects) -> None:
    put_scores(objects, "a", held_out([1, 2]))
    with pytest.raises(FailedError, match=r"scores-00000.npy is damaged: it holds float16 of shape \(2, 2, 3\)"):
        list(Shared(objects, ["a"]).blocks(classes=4))
    assert objects.exists(layout.run_file("a", "holdout/scores-00000.npy"))
