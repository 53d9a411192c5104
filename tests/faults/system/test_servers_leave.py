"""Redis, object store and document store leave and return during a job, whose answers are the undisturbed ones."""

import random
import time

import pytest
import redis

from tests.system_scene import Answer, System

LONGEST_SECONDS = 4.0  # longer than two leases


@pytest.mark.parametrize("name", ["redis", "s3", "mongo"])
def test_a_server_restarts(system: System, expected: list[Answer], seed: int, name: str) -> None:
    moments = random.Random(seed)
    job = system.submit(system.dataset())
    system.wait_for_chunks(job, moments.randrange(10))
    server = system.servers[name]
    moments.choice([server.stop, server.kill])()
    time.sleep(moments.uniform(0, LONGEST_SECONDS))
    server.start()
    system.succeeds(job, expected)


def test_redis_forgets_everything(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    job = system.submit(system.dataset())
    for least in sorted(moments.sample(range(10), 2)):
        system.wait_for_chunks(job, least)
        with redis.Redis.from_url(system.servers["redis"].url) as client:
            client.flushall()
    system.servers["redis"].kill()
    system.servers["redis"].start()
    system.succeeds(job, expected)
