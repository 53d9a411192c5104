from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.sqlite_leases import SqliteLeases
from shared.domain.service_records import Lease
from shared.leadership import Leadership, vacate
from shared.settings import LeaseSettings
from tests.scoring_stub import VirtualClock

BEAT, LEASE = 2.0, 30.0
SETTINGS = LeaseSettings(beat_seconds=BEAT, lease_seconds=LEASE)
Make = Callable[[str], Leadership]


class Rows:
    """The port in memory."""

    def __init__(self) -> None:
        self.row = Lease(name="dispatcher")

    def lease(self, name: str) -> Lease:
        return self.row

    def swap_lease(self, old: Lease, new: Lease) -> bool:
        if (self.row.term, self.row.beat) != (old.term, old.beat):
            return False
        self.row = new
        return True


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def make(tmp_path: Path, clock: VirtualClock) -> Make:
    leases = SqliteLeases(tmp_path / "leases.sqlite")
    return lambda holder: Leadership(leases, "dispatcher", SETTINGS, holder=holder, clock=clock)


def test_the_first_one_leads_at_once_and_goes_on(make: Make, clock: VirtualClock) -> None:
    first, second = make("a"), make("b")
    assert first.lead()
    for _ in range(100):
        clock.sleep(1.0)
        assert first.lead()
        assert not second.lead()


def test_another_one_takes_over_a_lease_time_after_the_last_beat(make: Make, clock: VirtualClock) -> None:
    first, second = make("a"), make("b")
    assert first.lead()
    assert not second.lead()
    clock.sleep(LEASE - 1)
    assert not second.lead()
    clock.sleep(1.0)
    assert second.lead()
    assert not first.lead()
    assert second.lead()


def test_a_leader_that_hands_over_is_followed_at_once(make: Make) -> None:
    first, second = make("a"), make("b")
    assert first.lead()
    assert not second.lead()
    first.hand_over()
    assert second.lead()
    assert not first.lead()


def test_after_a_store_was_away_a_follower_waits_a_whole_lease_time_again(make: Make, clock: VirtualClock) -> None:
    first, second = make("a"), make("b")
    assert first.lead()
    assert not second.lead()
    clock.sleep(LEASE)
    second.forget()
    assert not second.lead()
    clock.sleep(LEASE)
    assert second.lead()


def test_after_an_outage_the_leader_goes_on_unless_it_was_replaced(make: Make, clock: VirtualClock) -> None:
    first, second = make("a"), make("b")
    assert first.lead()
    first.forget()
    assert first.lead()
    first.forget()
    assert not second.lead()
    clock.sleep(LEASE)
    assert second.lead()
    assert not first.lead()


def test_the_owner_of_the_stores_need_not_wait_for_a_dead_leader(tmp_path: Path, make: Make) -> None:
    leases = SqliteLeases(tmp_path / "leases.sqlite")
    vacate(leases, "dispatcher")
    assert leases.lease("dispatcher") == Lease(name="dispatcher")
    assert make("dead").lead()
    assert not make("next").lead()
    vacate(leases, "dispatcher")
    assert make("next").lead()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 3.0)), max_size=60))
def test_whoever_comes_there_is_one_term_per_leader(visits: list[tuple[str, float]]) -> None:
    clock, rows = VirtualClock(), Rows()
    replicas = {name: Leadership(rows, "dispatcher", SETTINGS, holder=name, clock=clock) for name in "abc"}
    leaders: dict[int, str] = {}
    for name, seconds in visits:
        clock.sleep(seconds)
        if replicas[name].lead() and rows.row.holder == name:
            assert leaders.setdefault(rows.row.term, name) == name
