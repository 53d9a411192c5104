"""A job on a played pool, on virtual time: nothing lost, nothing doubled, devices busy; and what would be found."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from services.dispatcher import sending
from shared.domain.records import Chunk, Outcome
from tests.simulated_engine import PlayedEngine
from tests.simulated_pool import Faults, Simulation
from tests.simulated_rows import DoubledError, LostError, WatchedJobs
from workers.scoring.worker import Worker

MOST_IDLE = 0.01


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_and_devices_are_busy_while_chunks_wait(tmp_path: Path, seed: int) -> None:
    books = Simulation(tmp_path, chunks=200, workers=6, seed=seed).run()
    assert books.idle_share <= MOST_IDLE
    happened = {"poisoned", "death", "stall", "eviction", "dispatcher deaths"}
    assert happened <= books.faults.keys() | ({"stall"} if seed == 1 else set())


def test_equal_seeds_play_the_same(tmp_path: Path) -> None:
    one, other = (Simulation(tmp_path / name, chunks=30, workers=3, seed=3).run() for name in ("one", "other"))
    assert one == other


class Uncompared(WatchedJobs):
    """Stores every swap, whatever the row has become."""

    def swap_chunk(self, old: Chunk, new: Chunk) -> bool:
        return super().swap_chunk(self.chunk(old.id), new)


class Forgetful(WatchedJobs):
    """Keeps no outcome of the tenth product."""

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        self._jobs.add_outcomes([one for one in outcomes if one.position != 9])


@pytest.mark.parametrize(("rows", "error"), [(Uncompared, DoubledError), (Forgetful, LostError)])
def test_a_store_that_compares_nothing_or_forgets_is_found(
    tmp_path: Path, rows: type[WatchedJobs], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Simulation(tmp_path, chunks=120, workers=24, seed=1, poison=0, faults=Faults(doubled=0.5), rows=rows).run()


def idle_share(home: Path) -> float:
    return Simulation(home, chunks=80, workers=4, seed=1, poison=0).run().idle_share


def test_devices_are_busy_in_the_job_that_others_are_slow_in(tmp_path: Path) -> None:
    assert idle_share(tmp_path) <= MOST_IDLE


def test_a_window_that_does_not_follow_the_workers_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "window", lambda settings, on_the_way: 4)
    assert idle_share(tmp_path) > 5 * MOST_IDLE


def test_an_engine_that_fetches_only_when_it_is_done_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlayedEngine, "fetches_ahead", False)
    assert idle_share(tmp_path) > 2 * MOST_IDLE


def test_a_worker_that_ends_its_pipeline_with_each_message_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "_more_of", lambda worker, job: [])
    assert idle_share(tmp_path) > MOST_IDLE


def test_a_worker_that_stores_before_it_goes_on_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_store", lambda worker, results: [worker._write(result) for result in results])
    assert idle_share(tmp_path) > 2 * MOST_IDLE
