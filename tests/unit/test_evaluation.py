from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.reports.evaluation import Evaluation, evaluate
from shared import ensemble_file, wiring
from shared.domain import splits
from shared.domain.ensemble import Split
from shared.domain.records import EnsembleVersion, Job, JobOptions, Outcome
from shared.packs import Manifest, read_index
from shared.settings import Settings
from shared.wiring import Stores

FILE = """
name: tiny
splits: {A: {seed: 1, holdout: 0.5}, B: {seed: 2, holdout: 0.5}, all: {seed: 3, holdout: 0.0}}
defaults: {input: {size: 32}, epochs: 1, model: test_resnet}
members:
  a: {split: A}
  b: {split: B}
  child: {split: A, init: {member: b}, as_published: true}
  greedy: {split: all}
combinations: {one: [a], two: [a, b], warm: [child], none: [greedy]}
"""
RIGHT, WRONG = {"category_id": 1000}, {"category_id": 1001}


class Bench:
    """A job of the tiny dataset: without duplicates product 100 is wrong, and 101 an error."""

    def __init__(self, home: Path, make_dataset: Callable[..., Manifest]) -> None:
        self.stores: Stores = wiring.stores(Settings(home=home))
        self.manifest = make_dataset(self.stores.objects)
        self.ensemble = ensemble_file.parse(FILE, "tiny.yaml", ensemble_file.architectures())
        self.version = EnsembleVersion(
            name="tiny",
            version="v",
            document=self.ensemble.plain(),
            runs={},
            dataset="tiny",
            dataset_fingerprint=self.manifest.fingerprint,
            taxonomy=self.manifest.taxonomy,
            duplicate_table="",
        )
        self.job = Job(
            id="j",
            dataset="tiny",
            dataset_fingerprint=self.manifest.fingerprint,
            ensemble="tiny",
            version="v",
            options=JobOptions(image_duplicates="none", product_duplicates="none", skip_decided=False),
            products=40,
            images=60,
            state="succeeded",
        )
        self.stores.jobs.add_outcomes(self.outcome(position) for position in range(40))

    def outcome(self, position: int) -> Outcome:
        names = self.ensemble.combinations
        product, alone = 100 + position, WRONG if position == 0 else RIGHT
        if position == 1:
            return Outcome(job="j", product=product, position=position, chunk="c", error="not read")
        return Outcome(
            job="j",
            product=product,
            position=position,
            chunk="c",
            predictions=dict.fromkeys(names, RIGHT),
            model_only=dict.fromkeys(names, alone),
        )

    def evaluate(self, labels: Mapping[int, int], **job: object) -> Evaluation:
        row = replace(self.job, **job)  # type: ignore[arg-type]
        return evaluate(self.stores.objects, self.stores.jobs, row, self.version, labels)

    def held_out(self, split: Split) -> set[int]:
        index = read_index(self.stores.objects, "tiny", self.manifest.packs[0])
        part = splits.assign(split, index.product_id, index.first_image, index.image_md5)
        return set(index.product_id[part == splits.HOLDOUT].tolist())


@pytest.fixture
def bench(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Bench:
    return Bench(tmp_path, make_dataset)


ALL = dict.fromkeys(range(100, 140), 1000)


def test_another_dataset_is_judged_with_and_without_duplicates(bench: Bench) -> None:
    found = bench.evaluate(ALL | {1: 1000}, dataset_fingerprint="another")
    both, alone = found.combinations[0].with_duplicates, found.combinations[0].without_duplicates
    assert both is not None
    assert alone is not None
    assert (both.n, both.share) == (40, 39 / 40)
    assert (alone.n, alone.share) == (40, 38 / 40)
    assert (found.labels, found.unknown, found.errors) == (41, 1, 1)
    assert found.notes()[0] == "40 labelled products judged"


def test_the_own_dataset_is_judged_on_what_members_and_their_parents_held_out(bench: Bench) -> None:
    found = {c.combination: c for c in bench.evaluate(ALL).combinations}
    a, b = (bench.held_out(bench.ensemble.splits[name]) for name in ("A", "B"))
    sizes = {name: c.without_duplicates.n for name, c in found.items() if c.without_duplicates is not None}
    assert sizes == {"one": len(a), "two": len(a & b), "warm": len(a & b)}
    assert 0 < len(a & b) < len(a)
    assert all(c.with_duplicates is None for c in found.values())


def test_a_combination_that_saw_everything_has_no_figure_and_a_note(bench: Bench) -> None:
    notes = bench.evaluate(ALL).notes()
    assert "no figure for none: not one labelled product was held out by all of it" in notes
    assert notes[0] == "40 labelled products in this job"


def test_errors_count_where_they_are_judged_only(bench: Bench) -> None:
    held_out = bench.held_out(bench.ensemble.splits["A"])  # the widest of all combinations
    assert bench.evaluate(ALL).errors == int(101 in held_out)
    assert bench.evaluate(ALL, dataset_fingerprint="another").errors == 1


def test_a_job_that_has_not_ended_says_that_it_is_judged_in_part(bench: Bench) -> None:
    words = "the job is running: only what it has answered so far is judged"
    assert words in bench.evaluate(ALL, dataset_fingerprint="another", state="running").notes()
    assert words not in bench.evaluate(ALL, dataset_fingerprint="another").notes()
