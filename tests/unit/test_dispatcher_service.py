"""Replicas of the dispatcher on real rows and a virtual clock: one leads, and what it tells is true."""

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.dispatcher.collection import Collection
from services.dispatcher.service import Service
from shared import layout, wiring
from shared.adapters.sqlite_leases import SqliteLeases
from shared.domain import states
from shared.domain.errors import StoreUnavailableError
from shared.domain.retention import DAY
from shared.ports import Stores
from shared.settings import RetentionSettings, Settings
from tests.job_scene import Scene
from tests.scoring_stub import Flaky, VirtualClock

LEASE = 30.0


class Replicas:
    """Two services over one scene."""

    def __init__(self, home: Path) -> None:
        self.scene = Scene(home, [1] * 40)
        self.leases = Flaky(SqliteLeases(home / "jobs.sqlite"))
        nothing: Any = None  # collections are not due
        stores = Stores(self.scene.objects, nothing, nothing, self.scene.jobs, nothing, self.leases)
        self.registries = [CollectorRegistry(), CollectorRegistry()]
        self.services = [
            Service(stores, self.scene.queue, self.scene.settings, registry, clock=self.scene.clock, now=lambda: 1.0)
            for registry in self.registries
        ]

    def value(self, replica: int, name: str, **labels: str) -> float | None:
        return self.registries[replica].get_sample_value(f"shelver_{name}", labels)

    def steps(self, *replicas: int, count: int = 1) -> None:
        for _ in range(count):
            for replica in replicas:
                self.services[replica].step()
            self.scene.clock.sleep(0.2)


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path)


def test_one_leads_and_tells_of_jobs(replicas: Replicas) -> None:
    replicas.steps(0, 1, count=7)

    assert replicas.scene.counts() == {"sent": 10}
    assert len(replicas.scene.queue.messages) == 3
    assert (replicas.value(0, "dispatcher_leader"), replicas.value(1, "dispatcher_leader")) == (1, 0)
    assert replicas.value(0, "jobs", state="running") == 1
    assert replicas.value(0, "jobs", state="failed") == 0
    assert replicas.value(0, "outstanding_chunks", pool="default") == 10
    assert replicas.value(0, "chunks", pool="default", state="sent") == 10
    assert replicas.value(0, "sent_messages_total", pool="default") == 3
    assert replicas.value(1, "jobs", state="running") is None
    assert replicas.value(1, "outstanding_chunks", pool="default") is None


def test_another_one_goes_on_when_the_leader_is_silent(replicas: Replicas) -> None:
    scene = replicas.scene
    replicas.steps(0, 1, count=3)
    (chunk,) = scene.claim()
    assert scene.finish(chunk)
    replicas.steps(1)
    scene.clock.sleep(LEASE)
    replicas.steps(1, count=2)

    assert (replicas.value(1, "dispatcher_leader"), replicas.value(1, "jobs", state="running")) == (1, 1)
    for other in scene.chunks("sent"):
        assert scene.jobs.swap_chunk(other, running := states.claim(other, worker="w", ready=True))
        assert scene.finish(running)
    replicas.steps(1, count=2)
    assert scene.job.state == "succeeded"
    replicas.steps(0)  # it was only slow: it follows now, and tells no more of jobs
    assert (replicas.value(0, "dispatcher_leader"), replicas.value(0, "jobs", state="running")) == (0, None)


def test_lost_chunks_are_counted(replicas: Replicas) -> None:
    scene = replicas.scene
    replicas.steps(0, count=3)
    scene.claim()
    replicas.steps(0)
    for _ in range(3):
        scene.clock.sleep(LEASE)
        replicas.steps(0)
    assert replicas.value(0, "lost_chunks_total", pool="default") == 1


def test_how_long_no_pending_chunk_was_taken(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path)
    replicas.scene.queue.away = True
    for _ in range(4):
        with pytest.raises(StoreUnavailableError):
            replicas.steps(0, count=3)
        replicas.scene.clock.sleep(100.0)

    assert replicas.value(0, "oldest_pending_chunk_seconds", pool="default") == pytest.approx(300, abs=2)


def test_it_waits_for_a_store_that_is_away_and_lets_another_one_lead_at_its_end(replicas: Replicas) -> None:
    tried = 0

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal tried
            tried += 1
            replicas.leases.away = 3 <= tried < 9
            if tried == 20:
                self.set()
            return super().wait(0)

    stop = Waits()
    replicas.services[0].run(stop)

    assert tried == 20
    assert replicas.scene.counts() == {"sent": 10}
    replicas.steps(1)
    assert replicas.value(1, "dispatcher_leader") == 1


def test_a_queue_that_is_away_loses_nothing(replicas: Replicas) -> None:
    scene = replicas.scene
    scene.queue.away = True
    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            replicas.steps(0, count=3)
    assert scene.counts() == {"pending": 10}

    scene.queue.away = False
    replicas.steps(0)

    sent = [chunk for message in scene.queue.messages for chunk in message["chunks"]]
    assert sorted(sent) == sorted(chunk.id for chunk in scene.chunks("sent"))
    assert scene.counts() == {"sent": 10}


def test_a_queue_that_was_emptied_is_filled_again(replicas: Replicas) -> None:
    scene = replicas.scene
    replicas.steps(0, count=3)
    lost, scene.queue.messages = scene.queue.messages, []
    scene.clock.sleep(LEASE)
    replicas.steps(0, count=2)

    assert [message["chunks"] for message in scene.queue.messages] == [message["chunks"] for message in lost]
    assert scene.counts() == {"sent": 10}
    assert {chunk.losses for chunk in scene.chunks()} == {0}


def test_collections_come_once_a_day_of_all_replicas(tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path))
    clock, today = VirtualClock(), 1e9
    both = [Collection(stores, RetentionSettings(), clock=clock, now=lambda: today) for _ in range(2)]

    def begun() -> int:
        clock.sleep(60.0)
        for one in both:
            one.collect_if_due()
            while one.busy():
                threading.Event().wait(0.01)
        return stores.leases.lease("gc").term

    stores.objects.put(layout.upload(layout.upload_request(1.0, "dead"), 0), b"picture")
    assert begun() == 1  # the interval begins; nothing goes yet
    assert list(stores.objects.list("uploads/"))
    today += 0.9 * DAY
    assert begun() == 1
    today += 0.2 * DAY
    assert begun() == 2
    assert not list(stores.objects.list("uploads/"))
    assert begun() == 2
