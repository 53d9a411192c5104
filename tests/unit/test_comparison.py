"""Every row of a comparison against a loop over products that anyone can follow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.reports import comparison
from services.reports.comparison import Comparison
from shared import duplicate_tables, ensemble_file, layout, wiring
from shared.domain import splits
from shared.domain.duplicates import build
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import HeldOut
from shared.packs import Manifest, PackIndex, read_classes, read_indexes, read_taxonomy
from shared.ports import Stores
from shared.settings import Settings
from tests.holdout_scene import Scores, put_scores

FILE = """
name: tiny
splits: {A: {seed: 1, holdout: 0.5}, B: {seed: 2, holdout: 0.5}}
defaults: {input: {size: 32}, epochs: 1, model: test_resnet, split: A}
members: {a: {}, b: {}, other: {split: B}}
views: [plain]
means: {weights: {b: 3}}
combinations: {one: [a], mixed: [a, other], both: [a, b]}
"""


class House:
    """The dataset `tiny` (40 products, every fifth shares its image with the one before), and two runs of split A."""

    def __init__(self, stores: Stores, manifest: Manifest, text: str = FILE) -> None:
        self.objects = stores.objects
        self.ensemble = ensemble_file.parse(text, "tiny.yaml", ensemble_file.architectures())
        ((_, self.index),) = read_indexes(self.objects, manifest)
        names = read_classes(self.objects, manifest, read_taxonomy(self.objects, "tiny"))
        self.classes = names.index_of(self.index.category_id)
        self.scores: dict[str, Scores] = {}
        self.held: dict[str, HeldOut] = {}
        for name, member in self.ensemble.members.items():
            part = splits.assign(member.split, self.index.product_id, self.index.first_image, self.index.image_md5)
            held = self.held[name] = held_out(self.index, self.classes, part)
            noise = np.random.default_rng(len(name) + ord(name[0])).random((len(held.row), 2, 3)) ** 3
            scores = (noise / noise.sum(axis=2, keepdims=True)).astype(np.float16)
            self.scores[name] = put_scores(self.objects, f"run-{name}", held, scores)
            counted = np.where(part == splits.TRAINING, self.classes, -1).astype(np.int32)
            table = build(counted, self.index.first_image, self.index.image_md5, names.classes)
            duplicate_tables.write(self.objects, "tiny", member.split.digest, table, source="s")
        self.version = EnsembleVersion(
            name="tiny",
            version="v",
            document=self.ensemble.plain(),
            runs={name: f"run-{name}" for name in self.ensemble.members},
            dataset="tiny",
            dataset_fingerprint=manifest.fingerprint,
            taxonomy=manifest.taxonomy,
            duplicate_table="",
        )

    def compare(self, combination: str = "") -> Comparison:
        return comparison.compare(self.objects, self.version, combination)

    def right(self, answer: Callable[[Scores, Scores], int]) -> float:
        """The share of held-out products of split A that `answer` gets right from both runs' scores of their images."""
        held, hits = self.held["a"], []
        for product in dict.fromkeys(held.product_id.tolist()):
            rows = held.product_id == product
            hits.append(answer(self.scores["a"][rows], self.scores["b"][rows]) == held.class_index[rows][0])
        return float(np.mean(hits))


def held_out(index: PackIndex, classes: np.ndarray, part: np.ndarray) -> HeldOut:
    lengths = np.diff(index.first_image)
    product = np.repeat(np.arange(len(index)), lengths)
    md5 = [tuple(one) for one in index.image_md5.tolist()]
    trained = {one for one, row in zip(md5, product.tolist(), strict=True) if part[row] == splits.TRAINING}
    known = np.array([one in trained for one in md5])
    seen = np.isin(product, product[known])
    rows = np.arange(len(product))
    whole = HeldOut(
        index.product_id[product], rows - index.first_image[product], rows, classes[product], part[product], seen
    )
    return whole.take(part[product] == splits.HOLDOUT)


@pytest.fixture
def house(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> House:
    stores = wiring.stores(Settings(home=tmp_path))
    return House(stores, make_dataset(stores.objects))


def shares(found: Comparison) -> dict[tuple[str, str], float]:
    return {(table.title, row.name): row.all.share for table in found.tables for row in table.rows}


def test_networks_alone_are_means_by_hand(house: House) -> None:
    found = shares(house.compare())
    plain, both = slice(0, 1), slice(0, 2)

    def mean(views: slice, a: float, b: float) -> Callable[[Scores, Scores], int]:
        def answer(of_a: Scores, of_b: Scores) -> int:
            one, other = (scores[:, views].astype(float).mean(axis=(0, 1)) for scores in (of_a, of_b))
            return int((a * one + b * other).argmax())

        return answer

    def geometric_over_images(of_a: Scores, of_b: Scores) -> int:
        one, other = (scores[:, plain].astype(float).mean(axis=1) for scores in (of_a, of_b))
        per_image = (one + 3 * other) / 4
        return int(np.log(per_image).mean(axis=0).argmax())

    def geometric_alone(of_a: Scores, _: Scores) -> int:
        return int(np.log(of_a[:, 0].astype(float)).mean(axis=0).argmax())

    assert found["combinations, networks alone, all means geometric", "one"] == house.right(geometric_alone)
    assert found["members, networks alone", "a"] == house.right(mean(plain, 1, 0))
    assert found["members, networks alone", "b"] == house.right(mean(plain, 0, 1))
    assert found["combinations", "both, networks alone"] == house.right(mean(plain, 1, 3))
    assert found["means of both, networks alone", "images: geometric"] == house.right(geometric_over_images)
    house.version.document["views"] = ["plain", "hflip"]
    found = shares(house.compare())
    assert found["views of both, networks alone", "plain"] == house.right(mean(plain, 1, 3))
    assert found["views of both, networks alone", "plain + hflip"] == house.right(mean(both, 1, 3))


def test_duplicates_help_those_that_were_seen_and_nobody_else(house: House) -> None:
    found = house.compare()
    by_name = {row.name: row for table in found.tables for row in table.rows if table.title == "combinations"}
    alone, told = by_name["both, networks alone"], by_name["both, image duplicates"]
    assert alone.new.share == told.new.share
    assert alone.new.n + alone.seen.n == alone.all.n == found.products == len(set(house.held["a"].product_id.tolist()))
    assert alone.seen.n > 0
    assert told.seen != alone.seen


def test_policies_are_ranked(house: House) -> None:
    """Every product's key is in the table, as of its own category; many images are of two."""
    table = build(house.classes.astype(np.int32), house.index.first_image, house.index.image_md5, 3)
    duplicate_tables.write(house.objects, "tiny", house.ensemble.members["a"].split.digest, table, source="s")
    ranked = {table.title: table.rows for table in house.compare().tables if table.title.endswith(", best first")}
    assert {title: {row.name for row in rows} for title, rows in ranked.items()} == {
        "image duplicates of both, means as in the file, best first": set(comparison.IMAGE_POLICIES),
        "image duplicates of both, means all geometric, best first": set(comparison.IMAGE_POLICIES),
        "product duplicates of both, beside those of images, best first": set(comparison.PRODUCT_POLICIES),
    }
    for rows in ranked.values():
        assert [row.all.share for row in rows] == sorted((row.all.share for row in rows), reverse=True)
    *_, products = ranked.values()
    assert [(row.name, row.all.share == 1) for row in products] == [
        ("unique", True),
        ("majority", True),
        ("none", False),
    ]


def test_differences_are_paired_with_the_reference(house: House) -> None:
    house.version.document["image_duplicates"] = "none"
    found = house.compare()
    references = [row for table in found.tables for row in table.rows if row.difference is None]
    assert references[0].name == "both"
    for table in found.tables:
        for row in table.rows:
            if row.difference:
                assert row.difference.mean == pytest.approx(row.all.share - references[0].all.share)
                assert row.difference.low <= row.difference.mean <= row.difference.high


def test_a_combination_is_judged_on_what_all_its_members_held_out(house: House) -> None:
    one, mixed = house.compare("one"), house.compare("mixed")
    assert one.products == len(set(house.held["a"].product_id.tolist()))
    shared = set(house.held["a"].product_id.tolist()) & set(house.held["other"].product_id.tolist())
    assert mixed.products == len(shared) < one.products
    names = {row.name for table in mixed.tables for row in table.rows if table.title == "combinations"}
    assert {name.partition(",")[0] for name in names} == {"one", "mixed"}


def test_products_without_a_picture_are_counted_apart(house: House) -> None:
    held = house.held["a"]
    product = held.product_id[0]
    spoiled = house.scores["a"].copy()
    spoiled[held.product_id == product] = np.nan
    put_scores(house.objects, "run-a", held, spoiled)
    before = len(set(held.product_id.tolist()))
    found = house.compare()
    assert (found.products, found.undecodable) == (before - 1, 1)


def test_what_is_missing_is_told(house: House) -> None:
    house.objects.delete(layout.duplicate_table("tiny", house.ensemble.members["a"].split.digest))
    with pytest.raises(NotFoundError, match="`shelver train` the ensemble's file again"):
        house.compare()
    house.objects.delete(layout.run_file("run-a", "holdout/row.npy"))
    with pytest.raises(BadInputError, match="run run-a: it has no holdout scores"):
        house.compare()


def test_lines_hold_every_figure(house: House) -> None:
    found = house.compare()
    header, *rows = list(found.lines())
    assert len(rows) == sum(len(table.rows) for table in found.tables)
    assert {len(row) for row in rows} == {len(header)}
    first = dict(zip(header, rows[0], strict=True))
    assert (first["table"], first["row"]) == ("as the file says", "both")
    assert float(first["accuracy"]) == pytest.approx(found.tables[0].rows[0].all.share, abs=1e-6)
    assert int(first["n"]) == found.products


def test_members_that_see_some_products_answer_for_those_alone(house: House) -> None:
    members = house.version.document["members"]
    for name, (least, most) in {"a": (1, 1), "b": (2, 0)}.items():
        members[name]["images"] = {"least": least, "most": most}
    house.version.document["combinations"] = {"both": ["a", "b"]}
    held, scores = house.held["a"], {}
    for name, own in (("a", 0), ("b", 1)):  # products of odd ids have two images
        scores[name] = np.where((held.product_id % 2 == own)[:, None, None], house.scores[name], np.nan)
        put_scores(house.objects, f"run-{name}", held, scores[name].astype(np.float16))
    found = house.compare()
    rows = {(table.title, row.name): row for table in found.tables for row in table.rows}

    def by_number(of_a: Scores, of_b: Scores) -> int:
        asked = of_a if len(of_a) == 1 else of_b
        return int(asked[:, :1].astype(float).mean(axis=(0, 1)).argmax())

    assert found.undecodable == 0
    assert rows["combinations", "both, networks alone"].all.share == house.right(by_number)
    numbers = [rows["members, networks alone", name].all.n for name in ("a", "b")]
    ids = np.unique(held.product_id)
    assert numbers == [int((ids % 2 == 0).sum()), int((ids % 2 == 1).sum())]


def test_duplicates_of_images_do_not_touch_a_joint_member(house: House) -> None:
    document = house.version.document
    document["members"]["a"]["joint"] = {"kind": "tiled", "most": 4, "by": "gated"}
    document["means"]["order"] = ["views", "images", "members"]
    held = house.held["a"]
    first = np.searchsorted(held.row, held.row - held.number)
    put_scores(house.objects, "run-a", held, house.scores["a"][first])  # each image has its product's answer
    found = {row.name: row for table in house.compare().tables for row in table.rows if table.title == "combinations"}
    assert found["one, image duplicates"] == replace(found["one, networks alone"], name="one, image duplicates")
    assert found["both, image duplicates"].all != found["both, networks alone"].all
