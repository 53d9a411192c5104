"""The Keys port: one suite over every adapter."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_keys import MongoKeys
from shared.adapters.sqlite_keys import SqliteKeys
from shared.domain.errors import ConflictError, NotFoundError
from shared.domain.service_records import Admission, Key
from shared.ports import Keys
from shared.settings import MongoSettings

CLIENTS, ROWS = 8, 25


@pytest.fixture(params=["sqlite", "mongo"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Keys]:
    """Makes clients of one and the same empty store."""
    if request.param == "mongo":
        url = request.getfixturevalue("mongo_url")
        return lambda: MongoKeys(Mongo(url, MongoSettings()))
    return lambda: SqliteKeys(tmp_path / "keys.sqlite")


@pytest.fixture
def keys(client: Callable[[], Keys]) -> Keys:
    return client()


def key(name: str = "k", **more: object) -> Key:
    return Key(**{"id": name, "tenant": "t", "scopes": ("read", "submit"), "digest": f"d{name}"} | more)


def test_a_key_is_added_once_and_found_by_the_digest_of_its_secret(keys: Keys) -> None:
    assert keys.add_key(key(name="k", created=1.5)) == key(created=1.5)
    assert keys.add_key(key(created=9.0)) == key(created=1.5)
    assert keys.key_of("dk") == key(created=1.5)
    assert keys.key_of("k") is None


def test_two_keys_have_not_the_same_secret(keys: Keys) -> None:
    keys.add_key(key())
    with pytest.raises(ConflictError, match="same secret"):
        keys.add_key(key("other", digest="dk"))
    assert keys.all_keys() == [key()]


def test_keys_are_listed_oldest_first(keys: Keys) -> None:
    for name in ("b", "a", "c"):
        keys.add_key(key(name))
    assert [k.id for k in keys.all_keys()] == ["b", "a", "c"]


def test_a_revoked_key_stays_so(keys: Keys) -> None:
    keys.add_key(key())
    keys.revoke_key("k")
    keys.revoke_key("k")
    assert keys.add_key(key()) == key(revoked=True)
    assert keys.key_of("dk") == key(revoked=True)
    with pytest.raises(NotFoundError, match="no key 'x'"):
        keys.revoke_key("x")


def test_an_admission_is_swapped_by_its_generation(keys: Keys) -> None:
    none = keys.admission("t")
    assert none == Admission(tenant="t")
    first = replace(none, generation=1, pending={"j.1$": 5})
    assert keys.swap_admission(none, first)
    assert not keys.swap_admission(none, first)
    assert keys.admission("t") == first
    second = replace(first, generation=2, pending={})
    assert keys.swap_admission(first, second)
    assert not keys.swap_admission(first, second)
    assert keys.admission("t") == second
    assert keys.admission("other") == Admission(tenant="other")


def test_no_admission_of_many_clients_is_lost(client: Callable[[], Keys]) -> None:
    begin = threading.Barrier(CLIENTS)

    def admit(number: int) -> None:
        mine = client()
        begin.wait()
        for row in range(ROWS):
            while True:
                old = mine.admission("t")
                pending = {**old.pending, f"{number}-{row}": 1}
                if mine.swap_admission(old, replace(old, generation=old.generation + 1, pending=pending)):
                    break

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(admit, range(CLIENTS)))
    found = client().admission("t")
    assert (found.generation, len(found.pending)) == (CLIENTS * ROWS, CLIENTS * ROWS)
