import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import attempts
from shared.domain.attempts import Loss
from shared.domain.records import Chunk, Job, JobOptions

CHUNK = Chunk(id="c", job="j", pack=0, offset=0, length=100, position=3, products=4, images=5, state="running")
NOW, LEASE = 1000.0, 30.0


def loss(*, ready: bool = True, solo: bool = False, company: bool = False, ago: float = 0, recent: int = 0) -> Loss:
    return Loss(dataclasses.replace(CHUNK, ready=ready, solo=solo), NOW - ago, company, recent)


def judge(*losses: Loss, running: int = 0, chunks: int = 100) -> list[str]:
    return list(attempts.judge(losses, running=running, chunks=chunks, now=NOW, lease_seconds=LEASE))


@pytest.mark.parametrize(
    ("given_loss", "verdict"),
    [
        (loss(ready=False), "unready"),
        (loss(ready=False, solo=True), "unready"),
        (loss(), "solo"),
        (loss(company=True), "solo"),
        (loss(solo=True, company=True), "solo"),
        (loss(solo=True), "counted"),
    ],
)
def test_only_the_loss_of_a_chunk_alone_on_a_ready_worker_counts(given_loss: Loss, verdict: str) -> None:
    assert judge(given_loss) == [verdict]


def test_more_than_five_losses_within_a_lease_time_are_an_outage() -> None:
    assert judge(*[loss(solo=True)] * 5) == ["counted"] * 5
    assert judge(*[loss(solo=True)] * 6) == ["outage"] * 6
    assert judge(loss(solo=True, recent=5)) == ["outage"]


def test_in_a_large_job_an_outage_is_more_than_a_hundredth() -> None:
    assert judge(*[loss(solo=True)] * 20, chunks=2000) == ["counted"] * 20
    assert judge(*[loss(solo=True)] * 21, chunks=2000) == ["outage"] * 21


def test_a_verdict_waits_while_what_runs_could_make_it_an_outage() -> None:
    assert judge(loss(solo=True), running=4) == ["counted"]
    assert judge(loss(solo=True), running=5) == ["wait"]
    assert judge(loss(solo=True, ago=LEASE), running=5) == ["counted"]


def test_losses_one_after_the_other_are_an_outage_only_where_nothing_works() -> None:
    solo = dataclasses.replace(CHUNK, solo=True, done_before=5)
    for chunk, done, done_then, expected in [
        (CHUNK, 6, 6, True),
        (CHUNK, 7, 6, False),
        (solo, 5, 5, True),
        (solo, 6, 6, False),
    ]:
        assert attempts.related(chunk, done, seen=NOW, earlier=NOW - 1, done_then=done_then) == expected
        assert attempts.related(chunk, done, seen=NOW - 2, earlier=NOW - 1, done_then=done_then)


def test_a_planned_chunk_is_split_after_two_losses_and_a_descendant_after_one() -> None:
    planned = dataclasses.replace(CHUNK, state="pending", solo=True)
    descendant = dataclasses.replace(planned, parent="p")
    assert [attempts.due(dataclasses.replace(planned, losses=n), 1) for n in range(3)] == ["send", "send", "split"]
    assert [attempts.due(dataclasses.replace(descendant, losses=n), 1) for n in range(2)] == ["send", "split"]


@pytest.mark.parametrize("parent", ["", "p"])
def test_a_product_is_quarantined_after_two_losses_in_an_environment_that_works(parent: str) -> None:
    single = dataclasses.replace(CHUNK, state="pending", solo=True, products=1, parent=parent, done_before=5)
    lost = [dataclasses.replace(single, losses=n) for n in range(4)]
    assert [attempts.due(chunk, 1) for chunk in lost] == ["send", "send", "quarantine", "quarantine"]
    assert [attempts.due(chunk, 0) for chunk in lost] == ["send", "send", "hold", "hold"]


@given(st.integers(0, 5), st.integers(0, 5))
def test_three_signs_of_one_kind_fail_a_job(waves: int, unready: int) -> None:
    options = JobOptions(image_duplicates="none", product_duplicates="none")
    job = Job(
        id="j",
        dataset="d",
        dataset_fingerprint="f",
        ensemble="e",
        version="v",
        options=options,
        products=1,
        images=1,
        waves=waves,
        unready_losses=unready,
    )
    assert attempts.failing(job) == (max(waves, unready) >= 3)
