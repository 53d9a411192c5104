"""A fit of two runs whose scores are made up: what is found, what is taken, and on which products."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.reports import comparison, fitting
from services.reports.category_fitting import CategoryFitter
from services.reports.fitted import Fitted
from shared import duplicate_tables, ensemble_file, wiring
from shared.domain import intervals, splits
from shared.domain.duplicates import build
from shared.domain.errors import BadInputError
from shared.domain.fits import SOURCES, Fit
from shared.domain.records import EnsembleVersion
from shared.packs import Manifest, read_indexes, read_taxonomy
from shared.settings import Settings
from tests.holdout_scene import put_scores
from tests.unit.test_comparison import held_out

FILE = """
name: tiny
splits: {A: {seed: 1, holdout: 0.8}}
defaults: {input: {size: 32}, epochs: 1, model: test_resnet, split: A}
members: {good: {}, noise: {}}
views: [plain]
means: {members: arithmetic}
combinations: {one: [good], both: [good, noise]}
"""


class Shelf:
    """400 products, 320 or so held out: `good` is right in 70 % and always says 97 %, `noise` knows nothing."""

    def __init__(self, home: Path, make_dataset: Callable[..., Manifest], text: str = FILE) -> None:
        self.objects = wiring.stores(Settings(home=home)).objects
        manifest = make_dataset(self.objects, products=400)
        ensemble = ensemble_file.parse(text, "tiny.yaml", ensemble_file.architectures())
        ((_, self.index),) = read_indexes(self.objects, manifest)
        index, self.split = self.index, ensemble.splits["A"]
        self.label(read_taxonomy(self.objects, "tiny").index_of(index.category_id))
        noise = np.random.default_rng(1)
        right = (noise.random(int(self.held.product_id.max()) + 1) < 0.7)[self.held.product_id]
        said = np.where(right, self.held.class_index, (self.held.class_index + 1) % 3)
        good = np.full((len(said), 2, 3), 0.015)
        good[np.arange(len(said)), :, said] = 0.97
        put_scores(self.objects, "run-good", self.held, good.astype(np.float16))
        put_scores(self.objects, "run-noise", self.held, noise.dirichlet([0.1] * 3, (len(said), 2)).astype(np.float16))
        self.version = EnsembleVersion(
            name="tiny",
            version="v",
            document=ensemble.plain(),
            runs={name: f"run-{name}" for name in ensemble.members},
            dataset="tiny",
            dataset_fingerprint=manifest.fingerprint,
            taxonomy=manifest.taxonomy,
            duplicate_table="",
        )

    def label(self, classes: np.ndarray) -> None:
        """Take these for the products' classes, in training and holdout."""
        index = self.index
        part = splits.assign(self.split, index.product_id, index.first_image, index.image_md5)
        self.held = held_out(index, classes, part)
        counted = np.where(part == splits.TRAINING, classes, -1).astype(np.int32)
        table = build(counted, index.first_image, index.image_md5, 3)
        self.images = table.class_totals
        duplicate_tables.write(self.objects, "tiny", self.split.digest, table, source="s")

    def say(self, **probabilities: np.ndarray) -> None:
        """What members say of the products held out, by `product_id`: float[products, 3]."""
        for member, of_products in probabilities.items():
            rows = of_products[self.held.product_id - self.index.product_id[0]]
            put_scores(self.objects, f"run-{member}", self.held, np.repeat(rows[:, None], 2, axis=1).astype(np.float16))

    def fit(self, combination: str = "both", accuracy: float = 0.6, least: int = 100) -> Fitted:
        return fitting.fit(self.objects, self.version, combination, accuracy=accuracy, least=least)


@pytest.fixture
def shelf(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Shelf:
    return Shelf(tmp_path, make_dataset)


def test_a_member_that_knows_nothing_loses_its_weight_and_certainty_is_cooled(shelf: Shelf) -> None:
    found = shelf.fit()
    weights, temperature, stacking, biases = found.steps
    assert weights.taken
    assert temperature.taken
    assert stacking.taken
    assert not biases.taken
    assert found.fit.powers["noise"] < 0.1 < found.fit.powers["good"] < 0.6
    assert (found.fit.weights, found.fit.temperature, found.fit.biases) == ({}, 1.0, ())
    assert found.products == len(set(shelf.held.product_id.tolist())) == found.unfitted.n == found.fit.products
    assert weights.gain.mean == pytest.approx(weights.before.mean - weights.after.mean)
    assert temperature.before.mean == pytest.approx(weights.after.mean, abs=1e-3)
    assert found.fitted.share > found.unfitted.share
    alone = shelf.fit("one")
    assert alone.left_out == dict.fromkeys(("weights", "weights apart", "stacking"), "there is one member")
    (step,) = alone.steps
    assert step.taken
    assert alone.fit.temperature > 1.5
    assert alone.fit.weights == {}


def test_what_chance_may_explain_is_not_taken(shelf: Shelf) -> None:
    scores = np.full((len(shelf.held.row), 2, 3), 1 / 3, np.float16)
    for run in ("run-good", "run-noise"):
        put_scores(shelf.objects, run, shelf.held, scores)
    found = shelf.fit(accuracy=0.9)
    assert not any(step.taken for step in found.steps)
    assert (found.fit.weights, found.fit.temperature) == ({}, 1.0)
    assert found.difference.mean == 0
    assert found.fit.thresholds["model"][0] is None


def test_decisions_share_out_the_products_of_each_source(shelf: Shelf) -> None:
    found = shelf.fit()
    for source in SOURCES:
        mine = [one for one in found.decided if one.source == source]
        assert sum(one.share.share for one in mine) == pytest.approx(1 if mine else 0)
    assert sum(one.right.n for one in found.decided) == found.products
    assert {one.source for one in found.decided} == {"model", "image duplicate"}
    accepted = next(one for one in found.decided if (one.source, one.decision) == ("model", "accept"))
    assert accepted.share.share > 0.5
    assert accepted.right.share > 0.55
    level = next(one for one in shelf.fit(accuracy=0.97).decided if (one.source, one.decision) == ("model", "level 2"))
    assert (level.threshold, level.right.share) == (pytest.approx(1, abs=2e-6), 1.0)  # there is one node of level 2


def test_what_duplicates_alone_decide_is_as_probable_as_it_was_right(shelf: Shelf) -> None:
    index = shelf.index
    labels = np.where(index.product_id % 10 == 0, 0, (index.product_id + 1) // 5 % 3)
    shelf.label(labels)
    shelf.say(**{member: np.random.default_rng(1).dirichlet([1.0] * 3, 400) for member in ("good", "noise")})
    held = dict(zip(shelf.held.product_id.tolist(), shelf.held.class_index.tolist(), strict=True))
    images = [
        {tuple(md5) for md5 in index.image_md5[first:last].tolist()}
        for first, last in pairwise(index.first_image.tolist())
    ]
    trained: dict[tuple[int, ...], set[int]] = {}
    for product, label, of_product in zip(index.product_id.tolist(), labels.tolist(), images, strict=True):
        for md5 in of_product if product not in held else ():
            trained.setdefault(md5, set()).add(label)
    right = []
    for product, of_product in zip(index.product_id.tolist(), images, strict=True):
        told = [trained.get(md5, set()) for md5 in of_product]
        if product in held and all(len(one) == 1 for one in told) and len(set().union(*told)) == 1:
            right.append(told[0] == {held[product]})
    share = sum(right) / len(right)
    assert 0 < share < 1

    found = shelf.fit()

    assert found.fit.precisions == {"image duplicate": (pytest.approx(share, abs=1e-7), 1.0, 1.0)}
    assert found.told == {"image duplicate": intervals.accuracy(sum(right), len(right))}
    mine = {one.decision: one for one in found.decided if one.source == "image duplicate"}
    assert mine["accept"].threshold is None or mine["accept"].threshold < share
    assert mine["level 2"].right.share == 1


def test_nothing_of_a_fold_is_judged_by_a_fit_on_it(shelf: Shelf) -> None:
    """Labels without any rule can be learned by heart, and gain nothing on what was not seen."""
    held = replace(shelf.held, class_index=shelf.held.product_id * 7919 % 3)
    for run, seed in (("run-good", 1), ("run-noise", 2)):
        scores = np.random.default_rng(seed).dirichlet([1.0] * 3, (len(held.row), 2)).astype(np.float16)
        put_scores(shelf.objects, run, held, scores)
    found = shelf.fit()
    assert {step.name for step in found.steps if step.taken} <= {"temperature", "stacking"}  # to be less sure is right
    assert found.difference.low <= 0


def test_a_comparison_judges_a_fit_on_what_it_was_not_fitted_on(shelf: Shelf) -> None:
    assert comparison.FITS not in {table.title for table in comparison.compare(shelf.objects, shelf.version).tables}
    found = shelf.fit()
    fitted = replace(shelf.version, fits={"both": found.fit.plain()})
    *_, table = comparison.compare(shelf.objects, fitted).tables
    before, after = table.rows
    assert (table.title, before.name, after.name) == (
        comparison.FITS,
        "both, as the file says",
        "both, fitted: stacking",
    )
    assert (before.all, after.all) == (found.unfitted, found.fitted)
    assert after.difference == found.difference
    assert after.difference.low > 0


def test_what_was_learnt_by_heart_gains_nothing_in_a_comparison(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that trusts, without each fold, the member that is wrong there, is judged by what it says there."""

    def fit(_: CategoryFitter, way: int) -> Fit:
        return Fit(weights={"good": float(way != 2), "noise": float(way == 2)})

    monkeypatch.setattr(CategoryFitter, "fit", fit)
    fitted = replace(shelf.version, fits={"both": Fit(accuracy=0.6).plain()})
    *_, table = comparison.compare(shelf.objects, fitted).tables
    alone = {row.name: row.all.share for row in comparison.compare(shelf.objects, shelf.version).tables[1].rows}
    assert alone["noise"] < table.rows[1].all.share < alone["good"]


def test_what_cannot_be_fitted_is_told(shelf: Shelf, tmp_path: Path, make_dataset: Callable[..., Manifest]) -> None:
    with pytest.raises(
        BadInputError, match="products that the networks answer were held out by every member; a fit needs"
    ):
        shelf.fit(least=1000)
    other = Shelf(tmp_path / "crops", make_dataset, FILE.replace("[plain]", "[plain, crop_center]"))
    with pytest.raises(BadInputError, match="no holdout scores are stored of view"):
        other.fit()


@pytest.mark.parametrize("mean", ["geometric", "plurality"])
def test_without_arithmetic_means_there_are_no_weights_and_votes_are_not_stacked(
    mean: str, tmp_path: Path, make_dataset: Callable[..., Manifest]
) -> None:
    found = Shelf(tmp_path, make_dataset, FILE.replace("members: arithmetic", f"members: {mean}")).fit()
    assert (
        found.left_out["weights"] == found.left_out["weights apart"] == "they are fitted where all means are arithmetic"
    )
    stacks = ["stacking", "stacking with biases"] if mean == "geometric" else []
    assert [step.name for step in found.steps] == ["temperature", *stacks]
    assert found.left_out.get("stacking", "") == ("" if stacks else "they are fitted where members do not vote")
