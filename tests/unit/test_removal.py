from collections.abc import Callable
from pathlib import Path

import pytest

from shared import layout, removal, wiring
from shared.domain.errors import ConflictError, NotFoundError, StoreUnavailableError
from shared.domain.records import Dataset, Run
from shared.packs import Manifest
from shared.settings import Settings
from shared.wiring import Stores


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
