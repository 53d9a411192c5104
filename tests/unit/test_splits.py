from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import keys, splits
from shared.domain.digests import UInt64
from shared.domain.ensemble import Split
from shared.domain.splits import BLEND, HOLDOUT, TRAINING

SPLIT = Split(seed=12648430, holdout=0.3)
catalogs = st.dictionaries(
    st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(0, 8), min_size=1, max_size=4), max_size=30
)
kinds = st.builds(
    Split,
    seed=st.integers(0, 5),
    holdout=st.sampled_from([0.0, 0.3, 0.7]),
    group=st.sampled_from(["product", "duplicates"]),
    blend=st.sampled_from([0.0, 0.3]),
)
Catalog = dict[int, list[int]]
Arrays = tuple[splits.Int64, splits.Int64, UInt64]


def arrays(catalog: Catalog) -> Arrays:
    lengths = [len(images) for images in catalog.values()]
    images = np.array([i for images in catalog.values() for i in images], dtype=np.uint64)
    md5 = np.stack([images // 3, images % 3], axis=1)  # first halves collide
    return np.array(list(catalog), dtype=np.int64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), md5


def parts(split: Split, catalog: Catalog) -> dict[int, int]:
    return dict(zip(catalog, splits.assign(split, *arrays(catalog)).tolist(), strict=True))


@given(kinds, catalogs, catalogs)
@settings(max_examples=80)
def test_a_product_keeps_its_part_when_the_catalog_grows(split: Split, catalog: Catalog, more: Catalog) -> None:
    grown = {**{product: images for product, images in more.items() if product not in catalog}, **catalog}
    assert parts(split, catalog).items() <= parts(split, grown).items()


@given(kinds, catalogs)
@settings(max_examples=80)
def test_products_of_one_key_lie_on_one_side_when_grouped_by_duplicates(split: Split, catalog: Catalog) -> None:
    part = parts(replace(split, group="duplicates"), catalog)
    sides: dict[frozenset[int], set[int]] = {}
    for product, images in catalog.items():
        sides.setdefault(frozenset(images), set()).add(part[product])
    assert all(len(side) == 1 for side in sides.values())


@given(catalogs, st.sampled_from([0.1, 0.5]))
@settings(max_examples=50)
def test_the_blend_part_is_one_for_all_splits_and_leaves_the_rest_alone(catalog: Catalog, blend: float) -> None:
    without = parts(SPLIT, catalog)
    one, two = (parts(replace(SPLIT, seed=seed, blend=blend), catalog) for seed in (SPLIT.seed, 7))
    assert {p for p in one if one[p] == BLEND} == {p for p in two if two[p] == BLEND}
    assert {p: part for p, part in one.items() if part != BLEND}.items() <= without.items()


@pytest.mark.parametrize("group", ["product", "duplicates"])
def test_parts_have_about_their_shares(group: str) -> None:
    n = 20_000
    catalog = {product: [product] for product in range(n)}
    split = Split(seed=1, holdout=0.05, blend=0.1, group="duplicates" if group == "duplicates" else "product")
    counts = np.bincount(splits.assign(split, *arrays(catalog)), minlength=3) / n
    assert counts == pytest.approx([0.9 * 0.95, 0.9 * 0.05, 0.1], abs=0.01)


def test_seeds_and_purposes_give_independent_divisions() -> None:
    ids, first, md5 = arrays({product: [product] for product in range(20_000)})
    a = splits.assign(replace(SPLIT, holdout=0.5), ids, first, md5) == HOLDOUT
    b = splits.assign(Split(seed=1, holdout=0.5), ids, first, md5) == HOLDOUT
    watched = splits.watch(SPLIT.seed, ids)
    assert watched.mean() == pytest.approx(0.05, abs=0.01)
    assert (a & b).mean() == pytest.approx(0.25, abs=0.02)
    assert (a & watched).mean() == pytest.approx(0.025, abs=0.01)


def test_a_split_never_changes_between_versions() -> None:
    part = splits.assign(Split(seed=12648430, holdout=0.05), *arrays({product: [0] for product in range(100)}))
    assert np.flatnonzero(part == HOLDOUT).tolist() == [10, 11, 22, 24, 26, 27, 28, 39, 47, 53, 91]


@pytest.mark.parametrize("block", [keys.BLOCK, 4])
def test_dropping_keeps_the_first_of_each_image_in_training_and_in_holdout(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BLOCK", block)

    @given(catalogs, kinds)
    @settings(max_examples=80)
    def check(catalog: Catalog, split: Split) -> None:
        ids, first, md5 = arrays(catalog)
        part = splits.assign(split, ids, first, md5)
        seen: set[tuple[int, int]] = set()
        expected = []
        for images, code in zip(catalog.values(), part.tolist(), strict=True):
            for image in images:
                expected.append(code == BLEND or (code, image) not in seen)
                seen.add((code, image))
        dropping = replace(split, drop_duplicate_images=True)
        assert splits.undropped(dropping, part, first, md5).tolist() == expected
        assert splits.undropped(split, part, first, md5).all()

    check()


def test_a_product_of_duplicates_only_is_left_without_an_image() -> None:
    ids, first, md5 = arrays({1: [5, 6], 2: [6, 5, 5], 3: [7, 5]})
    split = replace(SPLIT, drop_duplicate_images=True)
    kept = splits.undropped(split, np.full(len(ids), TRAINING), first, md5)
    assert kept.tolist() == [True, True, False, False, False, True, False]
    assert np.add.reduceat(kept, first[:-1]).tolist() == [2, 0, 1]
