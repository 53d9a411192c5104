from dataclasses import replace

from services.dispatcher.idle import EmptyQueues, IdlePools
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Chunk, Job, JobOptions
from shared.settings import LeaseSettings
from tests.unit.test_turns import chunk

LEASE, SENT = 30.0, 100.0
OPTIONS = JobOptions(image_duplicates="none", product_duplicates="none")
Running = list[tuple[Job, list[Chunk]]]


def job(name: str, pool: str) -> Job:
    return Job(
        id=name,
        dataset="d",
        dataset_fingerprint="f",
        ensemble="e",
        version="v",
        options=OPTIONS,
        products=1,
        images=1,
        pool=pool,
    )


def running(*found: tuple[str, str, str]) -> Running:
    """(job, pool, state of its chunk)."""
    return [(job(name, pool), [replace(chunk(name, 1), state=state)]) for name, pool, state in found]


def idle() -> IdlePools:
    return IdlePools(LeaseSettings(lease_seconds=LEASE, sent_seconds=SENT))


def test_what_was_sent_into_a_pool_where_nothing_moves_is_sent_again_after_a_lease_time() -> None:
    pools, sent = idle(), running(("a", "gpu", "sent"))
    assert pools.stranded(sent, 0.0) == set()
    assert pools.stranded(sent, LEASE - 1) == set()
    assert pools.stranded(sent, LEASE) == {"gpu"}


def test_the_wait_doubles_up_to_the_deadline_while_no_worker_comes() -> None:
    pools, sent = idle(), running(("a", "gpu", "sent"))
    times = [t for t in range(500) if pools.stranded(sent, float(t))]
    assert times == [30, 90, 190, 290, 390, 490]


def test_a_pool_in_which_any_job_moves_is_not_idle() -> None:
    pools = idle()
    both = running(("a", "gpu", "sent"), ("b", "gpu", "running"), ("c", "other", "sent"))
    assert [t for t in range(100) if "gpu" in pools.stranded(both, float(t))] == []
    sent = running(("a", "gpu", "sent"))
    assert pools.stranded(sent, 100.0) == set()
    assert pools.stranded(sent, 100.0 + LEASE) == {"gpu"}


def test_a_queue_is_asked_once_a_second_for_each_pool() -> None:
    asked = []

    def waiting(pool: str) -> int:
        asked.append(pool)
        return 0 if pool == "gpu" else 1

    queues = EmptyQueues(waiting)
    assert [queues.empty("gpu", at) for at in (0.0, 0.5, 1.0)] == [True] * 3
    assert [queues.empty("other", at) for at in (0.0, 0.5, 1.0)] == [False] * 3
    assert asked == ["gpu"] * 2 + ["other"] * 2


def test_a_queue_that_is_away_or_cannot_tell_is_not_known_to_be_empty() -> None:
    def away(_: str) -> int:
        raise StoreUnavailableError("away")

    assert not EmptyQueues(away).empty("gpu", 0.0)
    assert not EmptyQueues(lambda _: None).empty("gpu", 0.0)
