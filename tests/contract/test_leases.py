"""The Leases port: one suite over every adapter."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_leases import MongoLeases
from shared.adapters.sqlite_leases import SqliteLeases
from shared.domain.service_records import Lease
from shared.ports import Leases
from shared.settings import MongoSettings

CLIENTS, TERMS = 8, 200


@pytest.fixture(params=["sqlite", "mongo"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Leases]:
    """Makes clients of one and the same empty store."""
    if request.param == "mongo":
        url = request.getfixturevalue("mongo_url")
        return lambda: MongoLeases(Mongo(url, MongoSettings()))
    return lambda: SqliteLeases(tmp_path / "leases.sqlite")


@pytest.fixture
def leases(client: Callable[[], Leases]) -> Leases:
    return client()


def test_a_lease_is_taken_kept_and_taken_over(leases: Leases) -> None:
    free = leases.lease("dispatcher")
    assert free == Lease(name="dispatcher")
    mine = replace(free, holder="a", term=1)
    assert leases.swap_lease(free, mine)
    assert not leases.swap_lease(free, replace(mine, holder="b"))
    beaten = replace(mine, beat=1)
    assert leases.swap_lease(mine, beaten)
    assert leases.lease("dispatcher") == beaten
    theirs = Lease(name="dispatcher", holder="b", term=2)
    assert leases.swap_lease(beaten, theirs)
    assert not leases.swap_lease(beaten, replace(beaten, beat=2))
    assert leases.lease("dispatcher") == theirs
    assert leases.lease("other") == Lease(name="other")


def test_every_term_of_many_clients_has_one_holder(client: Callable[[], Leases]) -> None:
    begin = threading.Barrier(CLIENTS)

    def lead(number: int) -> list[int]:
        mine = client()
        begin.wait()
        won = []
        while (old := mine.lease("dispatcher")).term < TERMS:
            if mine.swap_lease(old, replace(old, holder=str(number), term=old.term + 1)):
                won.append(old.term + 1)
        return won

    with ThreadPoolExecutor(CLIENTS) as pool:
        terms = [term for won in pool.map(lead, range(CLIENTS)) for term in won]
    assert sorted(terms) == list(range(1, TERMS + 1))
