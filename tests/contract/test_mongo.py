"""What a MongoDB server can do wrong, and what its clients are told."""

import multiprocessing
import threading
import time
from contextlib import suppress
from pathlib import Path

import pymongo
import pytest

from shared import wiring
from shared.adapters.mongo import STORE_VERSION, Mongo
from shared.adapters.mongo_leases import MongoLeases
from shared.adapters.mongo_runs import MongoRuns
from shared.domain.errors import BadInputError, NewerSchemaError, StoreUnavailableError
from shared.domain.records import Run
from shared.domain.service_records import Lease
from shared.ports import Leases
from shared.settings import MongoSettings, Settings
from tests.ports import free_port
from tests.servers.server import Server

QUICK = MongoSettings(connect_seconds=1, select_seconds=0.3, read_seconds=5)
FREE = Lease(name="dispatcher")
MINE = Lease(name="dispatcher", holder="me", term=1)


def test_a_server_that_is_away_is_told_without_the_password() -> None:
    port = free_port()
    leases = MongoLeases(Mongo(f"mongodb://shop:secret@127.0.0.1:{port}/shelver", QUICK))
    with pytest.raises(StoreUnavailableError, match=f"^MongoDB at 127.0.0.1:{port}: .*is the server up") as told:
        leases.lease("dispatcher")
    assert "secret" not in str(told.value)
    assert len(str(told.value)) < 300


def test_who_waits_for_an_absent_server_waits_for_nobody_else() -> None:
    leases = MongoLeases(Mongo(f"mongodb://127.0.0.1:{free_port()}/shelver", MongoSettings(select_seconds=1)))

    def ask() -> None:
        with pytest.raises(StoreUnavailableError):
            leases.lease("dispatcher")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 8  # one after the other they would take that long


def test_a_client_goes_on_once_its_server_is_back(own_mongo: Server) -> None:
    leases = MongoLeases(Mongo(f"{own_mongo.url}/shelver", QUICK))
    assert leases.swap_lease(FREE, MINE)
    own_mongo.kill()
    with pytest.raises(StoreUnavailableError):
        leases.lease("dispatcher")
    own_mongo.start()
    found: list[Lease] = []
    deadline = time.monotonic() + 30
    while not found and time.monotonic() < deadline:
        with suppress(StoreUnavailableError):  # a client looks whether its server is back twice a second
            found.append(leases.lease("dispatcher"))
    assert found == [MINE]


@pytest.mark.parametrize("address", ["mongodb://shop:secret@host", "mongodb://shop:secret@host/?w=1"])
def test_an_address_without_a_database_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="SHELVER_CATALOG: it names no database; write mongodb://HOST/DATABASE"):
        wiring.stores(Settings(home=tmp_path, catalog=address))


@pytest.mark.parametrize("address", ["mongodb://a:secret@b@c/shelver", "mongodb://shop:secret@host:port/shelver"])
def test_an_address_that_cannot_be_read_is_refused_without_its_password(address: str, tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path, catalog=address))
    with pytest.raises(BadInputError, match="SHELVER_CATALOG: it cannot be read") as told:
        stores.runs.runs()
    assert "secret" not in str(told.value)


def test_a_store_of_a_newer_shelver_is_refused(mongo_url: str) -> None:
    with pymongo.MongoClient[dict[str, object]](mongo_url) as client:
        client.get_default_database().meta.insert_one({"_id": "store", "version": STORE_VERSION + 1})
    with pytest.raises(NewerSchemaError, match=r"written by a newer Shelver .*; upgrade, or name another database"):
        MongoLeases(Mongo(mongo_url, QUICK)).lease("dispatcher")


def test_databases_of_one_server_are_apart(mongo_url: str, own_mongo: Server) -> None:
    one, other = (MongoLeases(Mongo(f"{own_mongo.url}/{name}", QUICK)) for name in ("one", "other"))
    assert one.swap_lease(FREE, MINE)
    assert other.lease("dispatcher") == FREE


def test_a_forked_child_has_a_client_of_its_own(mongo_url: str) -> None:
    leases = MongoLeases(Mongo(mongo_url, QUICK))
    assert leases.swap_lease(FREE, MINE)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_beat, args=(leases,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert leases.lease("dispatcher").beat == 1


def _beat(leases: Leases) -> None:
    held = leases.lease("dispatcher")
    assert leases.swap_lease(held, Lease(name=held.name, holder=held.holder, term=1, beat=1))


def test_what_is_made_in_a_moment_is_listed_in_its_order(mongo_url: str) -> None:
    """By numbers that the server gives out: no machine's clock, and no client's, decides."""
    clients = [MongoRuns(Mongo(mongo_url, QUICK)) for _ in range(2)]
    for number in range(6):
        clients[number % 2].declare(Run(id=f"r{number}", member="M", dataset="d", definition={}, created=-number))
    assert [run.id for run in clients[0].runs()] == [f"r{number}" for number in range(6)]
