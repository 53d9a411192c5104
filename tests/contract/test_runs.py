from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_runs import MongoRuns
from shared.adapters.sqlite_runs import SqliteRuns
from shared.domain.errors import NewerSchemaError, NotFoundError
from shared.domain.records import EnsembleVersion, Run, Training
from shared.ports import Runs
from shared.settings import MongoSettings

RUN = Run(id="r1", member="M1", dataset="d", definition={"member": {"epochs": 2}, "parent": ""}, created=1.0)
TRAINING = Training(
    id="t1", ensemble="e", dataset="d", document={"b": 1, "a": [2]}, runs={"M2": "r2", "M1": "r1"}, created=1.0
)
VERSION = EnsembleVersion(
    name="e",
    version="v1",
    document={"name": "e"},
    runs={"M2": "r2", "M1": "r1"},
    dataset="d",
    dataset_fingerprint="f",
    taxonomy="t",
    duplicate_table="datasets/d/duplicates/all.parquet",
)


Open = Callable[[], Runs]


@pytest.fixture(params=["sqlite", "mongo"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same store again, as another process would."""
    if request.param == "mongo":
        url = request.getfixturevalue("mongo_url")
        return lambda: MongoRuns(Mongo(url, MongoSettings()))
    return lambda: SqliteRuns(tmp_path / "shelver.sqlite")


@pytest.fixture
def runs(reopen: Open) -> Runs:
    return reopen()


def test_the_first_declaration_of_a_run_stays(runs: Runs, reopen: Open) -> None:
    assert runs.declare(RUN) == RUN
    assert runs.declare(replace(RUN, member="other")) == RUN
    assert reopen().run("r1") == RUN


def test_runs_are_listed_oldest_first(runs: Runs) -> None:
    for name in ("r3", "r1", "r2"):
        runs.declare(replace(RUN, id=name))
    assert [run.id for run in runs.runs()] == ["r3", "r1", "r2"]


def test_a_swap_needs_the_state_and_generation_that_are_stored(runs: Runs, reopen: Open) -> None:
    runs.declare(RUN)
    running = replace(RUN, state="running", generation=1, attempt=1)
    assert runs.swap_run(RUN, running)
    assert not runs.swap_run(RUN, replace(running, member="late"))
    assert not runs.swap_run(replace(running, state="pending"), replace(running, generation=2))
    assert not runs.swap_run(replace(running, id="none"), replace(running, id="none", generation=2))
    assert reopen().run("r1") == running


def test_of_many_swaps_at_once_exactly_one_succeeds(runs: Runs) -> None:
    runs.declare(RUN)
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda i: runs.swap_run(RUN, replace(RUN, generation=1, attempt=i)), range(12)))
    assert sum(won) == 1
    assert runs.run("r1").attempt == won.index(True)


def test_a_removed_run_is_gone_and_removing_it_again_is_fine(runs: Runs) -> None:
    runs.declare(RUN)
    runs.remove_run("r1")
    runs.remove_run("r1")
    with pytest.raises(NotFoundError, match="r1"):
        runs.run("r1")


def test_trainings_keep_the_order_of_their_members(runs: Runs, reopen: Open) -> None:
    assert runs.add_training(TRAINING) == TRAINING
    assert runs.add_training(replace(TRAINING, ensemble="other")) == TRAINING
    assert list(reopen().training("t1").runs) == ["M2", "M1"]
    assert runs.trainings() == [TRAINING]
    with pytest.raises(NotFoundError):
        runs.training("t2")


def test_a_training_is_swapped_like_a_run(runs: Runs) -> None:
    runs.add_training(TRAINING)
    done = replace(TRAINING, state="complete", generation=1, version="v1")
    assert runs.swap_training(TRAINING, done)
    assert not runs.swap_training(TRAINING, done)
    assert runs.training("t1") == done


def test_versions_are_immutable_and_current_names_one_of_them(runs: Runs, reopen: Open) -> None:
    assert runs.add_version(VERSION) == VERSION
    assert runs.add_version(replace(VERSION, dataset="other")) == VERSION
    assert runs.current("e") == ""
    with pytest.raises(NotFoundError):
        runs.version("e")
    runs.set_current("e", "v1")
    second = runs.add_version(replace(VERSION, version="v2"))
    assert reopen().version("e") == VERSION
    runs.set_current("e", "v2")
    assert runs.version("e") == second
    assert runs.version("e", "v1") == VERSION
    assert [v.version for v in runs.versions("e")] == ["v1", "v2"]
    assert runs.versions("other") == []
    assert len(runs.versions()) == 2


def test_a_removed_version_is_gone_and_current_with_it(runs: Runs, reopen: Open) -> None:
    for version in ("v1", "v2"):
        runs.add_version(replace(VERSION, version=version))
    runs.add_version(replace(VERSION, name="other"))
    runs.set_current("e", "v2")
    runs.remove_version("e", "v1")
    assert reopen().current("e") == "v2"
    for _ in ("removes it", "finds it gone"):
        runs.remove_version("e", "v2")
        assert reopen().current("e") == ""
    assert [v.name for v in reopen().versions()] == ["other"]


def test_a_removed_training_is_gone_and_removing_it_again_is_fine(runs: Runs, reopen: Open) -> None:
    runs.add_training(TRAINING)
    runs.add_training(replace(TRAINING, id="t2"))
    runs.remove_training("t1")
    runs.remove_training("t1")
    assert [training.id for training in reopen().trainings()] == ["t2"]
    with pytest.raises(NotFoundError, match="t1"):
        runs.training("t1")


def test_current_never_names_a_version_that_is_not_there(runs: Runs) -> None:
    with pytest.raises(NotFoundError, match="v9"):
        runs.set_current("e", "v9")
    assert runs.current("e") == ""


def test_a_row_of_a_newer_shelver_is_refused(runs: Runs) -> None:
    with pytest.raises(NewerSchemaError, match="schema 99"):
        runs.declare(replace(RUN, schema=99))
