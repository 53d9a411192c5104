import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shared import layout, removal, wiring
from shared.domain.errors import (
    BadInputError,
    ConflictError,
    FailedError,
    NewerSchemaError,
    NotFoundError,
    ShelverError,
    StoreUnavailableError,
)
from shared.domain.records import Dataset, EnsembleVersion, Job, JobOptions, Run, Training
from shared.packs import Manifest
from shared.ports import Launched, Stores
from shared.settings import Settings


@pytest.fixture
def stores(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Stores:
    """The complete dataset `tiny`, and the complete run r1 on another one."""
    stores = wiring.stores(Settings(home=tmp_path))
    manifest = make_dataset(stores.objects)
    stores.catalog.add_dataset(
        Dataset(
            name="tiny",
            fingerprint=manifest.fingerprint,
            products=40,
            images=60,
            labelled=40,
            bytes=1,
            repeated=0,
            bad=0,
            taxonomy=manifest.taxonomy,
            created=1.0,
        )
    )
    stores.runs.declare(Run(id="r1", member="M", dataset="other", definition={}, state="complete"))
    for name in ("weights.safetensors", "manifest.json"):
        stores.objects.put(layout.run_file("r1", name), b"{}")
    return stores


def remove_dataset(stores: Stores, name: str) -> None:
    removal.remove_dataset(stores.objects, stores.catalog, stores.runs, stores.jobs, name)


@pytest.mark.parametrize("name", ["tiny/packs", "tiny/duplicates", "tin", "none"])
def test_what_is_no_dataset_removes_nothing(name: str, stores: Stores) -> None:
    before = list(stores.objects.list(""))
    with pytest.raises(NotFoundError, match="there is no dataset"):
        remove_dataset(stores, name)
    assert list(stores.objects.list("")) == before


def test_a_dataset_goes_with_all_it_has(stores: Stores) -> None:
    remove_dataset(stores, "tiny")
    assert list(stores.objects.list("datasets/")) == []
    assert stores.catalog.datasets() == []


@pytest.mark.parametrize(
    ("key", "content", "error"),
    [
        (layout.manifest("better"), b"{", FailedError),
        (layout.manifest("better"), b'{"schema": 2}', NewerSchemaError),
        (layout.relabelling("better"), b"{}", FailedError),
    ],
)
def test_where_it_is_not_known_who_needs_the_packs_they_stay(
    key: str, content: bytes, error: type[ShelverError], stores: Stores
) -> None:
    stores.catalog.add_dataset(replace(stores.catalog.datasets()[0], name="better"))
    stores.objects.put(key, content)
    before = list(stores.objects.list(""))
    with pytest.raises(error):
        remove_dataset(stores, "tiny")
    assert list(stores.objects.list("")) == before
    remove_dataset(stores, "better")
    remove_dataset(stores, "tiny")
    assert list(stores.objects.list("datasets/")) == []


def test_a_run_whose_removal_was_interrupted_is_not_taken_for_complete(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = stores.objects.delete

    def die(key: str) -> None:
        if key.endswith("weights.safetensors"):
            raise StoreUnavailableError("away")
        delete(key)

    monkeypatch.setattr(stores.objects, "delete", die)
    with pytest.raises(StoreUnavailableError):
        removal.remove_run(stores.objects, stores.runs, "r1")
    assert stores.runs.run("r1").state == "cancelled"
    monkeypatch.undo()
    removal.remove_run(stores.objects, stores.runs, "r1")
    assert list(stores.objects.list("runs/")) == []
    assert stores.runs.runs() == []


def test_a_run_that_runs_or_that_another_starts_from_stays(stores: Stores) -> None:
    stores.runs.declare(Run(id="r2", member="N", dataset="other", definition={}, state="running"))
    stores.runs.declare(Run(id="r3", member="O", dataset="other", definition={}, state="failed", parent="r1"))
    for run, words in (("r2", "is running"), ("r1", "in use by run r3")):
        with pytest.raises(ConflictError, match=words):
            removal.remove_run(stores.objects, stores.runs, run)
    removal.remove_run(stores.objects, stores.runs, "r3")
    removal.remove_run(stores.objects, stores.runs, "r1")
    assert [run.id for run in stores.runs.runs()] == ["r2"]


def test_a_job_that_an_unfinished_one_copies_from_stays(stores: Stores) -> None:
    whole = {"dataset": "tiny", "dataset_fingerprint": "f", "ensemble": "e", "version": "v", "products": 0, "images": 0}
    options = JobOptions(image_duplicates="none", product_duplicates="none")
    stores.jobs.create(Job(id="old", state="succeeded", options=options, **whole))
    new = stores.jobs.create(Job(id="new", options=dataclasses.replace(options, since="old"), **whole))
    with pytest.raises(ConflictError, match="job new copies from job old; let it end, or `shelver cancel new`, first"):
        removal.remove_job(stores.objects, stores.jobs, "old")
    assert stores.jobs.swap_job(new, dataclasses.replace(new, state="failed", generation=1))
    removal.remove_job(stores.objects, stores.jobs, "old")
    assert [job.id for job in stores.jobs.jobs()] == ["new"]


VERSION = EnsembleVersion(
    name="e",
    version="v1",
    document={},
    runs={"M": "r1"},
    dataset="other",
    dataset_fingerprint="f",
    taxonomy="t",
    duplicate_table="",
)
JOB = Job(
    id="j1",
    dataset="other",
    dataset_fingerprint="f",
    ensemble="e",
    version="v1",
    options=JobOptions(image_duplicates="none", product_duplicates="none"),
    products=1,
    images=1,
    state="succeeded",
)


def test_an_ensemble_version_goes_once_nothing_uses_it_and_then_its_run(stores: Stores) -> None:
    stores.runs.add_version(VERSION)
    stores.runs.set_current("e", "v1")
    stores.objects.put(layout.ensemble_version("e", "v1"), b"")
    stores.jobs.create(JOB)
    with pytest.raises(ConflictError, match="in use by job j1"):
        removal.remove_version(stores.objects, stores.runs, stores.jobs, "e@v1")
    removal.remove_job(stores.objects, stores.jobs, "j1")
    with pytest.raises(ConflictError, match="in use by ensemble e@v1"):
        removal.remove_run(stores.objects, stores.runs, "r1")
    removal.remove_version(stores.objects, stores.runs, stores.jobs, "e@v1")
    assert stores.runs.current("e") == ""
    assert list(stores.objects.list("ensembles/")) == []
    removal.remove_run(stores.objects, stores.runs, "r1")


def test_the_current_version_stays_while_there_are_others(stores: Stores) -> None:
    for version in ("v1", "v2"):
        stores.runs.add_version(replace(VERSION, version=version))
    stores.runs.set_current("e", "v1")
    with pytest.raises(ConflictError, match="is current and e has 1 more; `shelver train`"):
        removal.remove_version(stores.objects, stores.runs, stores.jobs, "e@v1")
    removal.remove_version(stores.objects, stores.runs, stores.jobs, "e@v2")
    removal.remove_version(stores.objects, stores.runs, stores.jobs, "e@v1")
    assert stores.runs.versions() == []


@pytest.mark.parametrize(
    ("name", "words"), [("e", "one by one"), ("e@v9", "no version 'v9'"), ("f@v1", "of the ensemble 'f'")]
)
def test_what_is_no_version_is_refused(name: str, words: str, stores: Stores) -> None:
    stores.runs.add_version(VERSION)
    with pytest.raises((BadInputError, NotFoundError), match=words):
        removal.remove_version(stores.objects, stores.runs, stores.jobs, name)


class NoProcesses:
    """A launcher that remembers which names it was told to end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def check(self) -> None:
        pass

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        raise AssertionError(name)

    def status(self) -> dict[str, Launched]:
        return {}

    def delete(self, name: str) -> None:
        self.ended.append(name)


def test_a_training_given_up_ends_what_no_other_one_wants(stores: Stores) -> None:
    for name, state in (("r2", "running"), ("r3", "waiting"), ("r4", "running")):
        stores.runs.declare(Run(id=name, member=name, dataset="other", definition={}, state=state, attempt=1))
    mine = Training(id="t1", ensemble="e", dataset="other", document={}, runs={r: r for r in ("r1", "r2", "r3", "r4")})
    stores.runs.add_training(mine)
    stores.runs.add_training(replace(mine, id="t2", runs={"r4": "r4"}))
    launcher = NoProcesses()
    removal.remove_training(stores.runs, launcher, "t1")
    assert [(run.id, run.state) for run in stores.runs.runs()] == [
        ("r1", "complete"),
        ("r2", "cancelled"),
        ("r3", "cancelled"),
        ("r4", "running"),
    ]
    assert launcher.ended == ["train-r2-1", "train-r3-1"]
    assert [training.id for training in stores.runs.trainings()] == ["t2"]
    removal.remove_run(stores.objects, stores.runs, "r2")
    with pytest.raises(NotFoundError, match="t1"):
        removal.remove_training(stores.runs, launcher, "t1")
