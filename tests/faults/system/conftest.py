"""The system under faults: one for all tests, healed before each; TEST_ROUNDS repeats each test."""

import os
from collections.abc import Iterator

import pytest

from tests.servers import server
from tests.servers.fixtures import started
from tests.system_scene import Answer, System, undisturbed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "system" in metafunc.fixturenames:
        metafunc.parametrize("system", range(int(os.environ.get("TEST_ROUNDS", "1"))), indirect=True)


@pytest.fixture(scope="session")
def _system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    with (
        started(server.redis_server(folder / "redis")) as redis,
        started(server.versity_server(folder / "s3")) as s3,
        started(server.mongo_server(folder / "mongo")) as mongo,
    ):
        system = System(folder, redis, s3, mongo)
        try:
            yield system
        finally:
            system.end()


@pytest.fixture
def system(_system: System, request: pytest.FixtureRequest) -> System:
    """All of it runs, whatever the test before did to it, and no job is left: the document server reads all rows."""
    _system.start()
    _system.remove_jobs()
    return _system


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """The answers of an undisturbed run over the usual dataset."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))
