"""What the dispatcher makes of lost chunks: the rules of `shared.domain.attempts` on real rows and a virtual clock."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from services.dispatcher import planning
from shared.domain import states
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Chunk, Outcome
from shared.job_requests import cancel
from tests.job_scene import Scene, all_sent

LEASE = 30.0


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return all_sent(tmp_path)


def expire(scene: Scene) -> None:
    """A whole lease time without a beat."""
    scene.steps()
    scene.clock.sleep(LEASE)
    scene.steps()


def row(scene: Scene, chunk: Chunk) -> Chunk:
    stored: Chunk = scene.jobs.chunk(chunk.id)
    return stored


def lose(scene: Scene, chunks: Sequence[Chunk]) -> None:
    """Each chunk is claimed alone by a worker of its own, all of which die."""
    for place, chunk in enumerate(chunks):
        sent = row(scene, chunk)
        worker = f"dead-{chunk.id}-{sent.generation}-{place}"
        assert scene.jobs.swap_chunk(sent, states.claim(sent, worker=worker, ready=True))
        scene.queue.dead.add(worker)
    scene.steps()


def test_a_lease_lives_as_long_as_its_beat_changes(scene: Scene) -> None:
    (chunk,) = scene.claim()
    for _ in range(5):
        scene.steps()
        scene.clock.sleep(LEASE - 1)
        assert scene.jobs.beat(chunk.id, chunk.generation, ready=True)
    assert row(scene, chunk).state == "running"
    expire(scene)
    assert row(scene, chunk).state == "sent"
    assert row(scene, chunk).generation > chunk.generation


def test_a_worker_known_dead_is_not_waited_for(scene: Scene) -> None:
    (chunk,) = scene.claim("w1")
    scene.queue.dead.add("w1")
    scene.steps()
    assert row(scene, chunk).solo
    assert row(scene, chunk).state == "sent"


def test_the_first_loss_only_makes_a_chunk_solo(scene: Scene) -> None:
    alone, *company = scene.claim("w1"), *scene.claim("w2", count=2)
    expire(scene)
    for chunk in (*alone, *company):
        assert (row(scene, chunk).solo, row(scene, chunk).losses) == (True, 0)
    assert [len(m["chunks"]) for m in scene.queue.messages[-3:]] == [1, 1, 1]


def test_a_stale_worker_writes_nothing_after_its_lease(scene: Scene) -> None:
    (stale,) = scene.claim("slow")
    expire(scene)
    scene.jobs.add_outcomes([Outcome(job="job1", product=100, position=0, chunk=stale.id, source="model")])
    assert not scene.finish(stale)
    assert not scene.jobs.beat(stale.id, stale.generation, ready=True)
    assert scene.play().state == "succeeded"
    assert len(scene.answers()) == 40
    assert scene.jobs.count_chunks("job1")["done"]["done"] == 40


def test_a_lease_starts_anew_after_a_store_error(scene: Scene) -> None:
    (chunk,) = scene.claim()
    scene.steps()
    scene.clock.sleep(LEASE - 1)
    scene.jobs.away = True
    with pytest.raises(StoreUnavailableError):
        scene.dispatcher.step()
    scene.clock.sleep(60)
    scene.jobs.away = False
    scene.steps()
    scene.clock.sleep(LEASE - 1)
    scene.steps()
    assert row(scene, chunk).state == "running"
    scene.clock.sleep(1)
    scene.steps()
    assert row(scene, chunk).solo


def test_solo_chunks_are_split_after_two_losses_and_descendants_after_one(scene: Scene) -> None:
    (first, *_) = scene.chunks()
    lose(scene, [first])
    lose(scene, [first])
    assert (row(scene, first).losses, row(scene, first).state) == (1, "sent")
    lose(scene, [first])
    assert (row(scene, first).losses, row(scene, first).state) == (2, "split")
    children = [c for c in scene.chunks() if c.parent == first.id]
    assert [(c.products, c.solo) for c in children] == [(1, True)] * 4
    assert [c.position for c in children] == list(row(scene, first).cuts)


def test_a_dispatcher_that_dies_between_split_and_children_is_completed(scene: Scene, tmp_path: Path) -> None:
    lost = scene.set_chunk(scene.chunks()[0], state="pending", solo=True, losses=2)
    assert scene.jobs.swap_chunk(lost, states.split(lost, cuts=(0, 1, 2, 3), done=0))
    planning_of_parent = [row(scene, lost)]
    scene.dispatcher = scene.new_dispatcher()
    assert scene.play().state == "succeeded"
    assert len([c for c in scene.chunks("done") if c.parent == lost.id]) == 4
    planning.add_children(scene.jobs, scene.objects, scene.job, planning_of_parent[0])
    assert len(scene.chunks()) == 14


@pytest.mark.parametrize("poison", [{100}, {139}, {105, 106, 122}, set(range(104, 112))])
def test_poison_products_are_quarantined_and_all_else_is_done(tmp_path: Path, poison: set[int]) -> None:
    scene = Scene(tmp_path, [1, 2] * 20, poison=frozenset(poison), chunk_images=12, packs=2)
    assert scene.play().state == "finished with errors"
    answers = scene.answers()
    assert {product for product, error in answers.items() if error} == poison
    assert len(answers) == 40
    assert all("quarantined: it took its worker down 2 times" in answers[product] for product in poison)
    assert scene.counts()["quarantined"] == len(poison)


def test_a_product_answered_by_a_stale_worker_is_quarantined_with_its_answer(scene: Scene) -> None:
    assert scene.finish(scene.claim(count=2)[0])
    parent = scene.set_chunk(scene.chunks()[1], state="pending", solo=True, losses=2)
    scene.steps()
    child = next(c for c in scene.chunks() if c.parent == parent.id)
    scene.jobs.add_outcomes([Outcome(job="job1", product=104, position=4, chunk=child.id)])
    assert scene.finish(scene.claim()[0])
    scene.set_chunk(row(scene, child), state="pending", losses=2)
    scene.steps()
    assert (row(scene, child).state, row(scene, child).done, row(scene, child).failed) == ("quarantined", 1, 0)
    assert scene.play().state == "succeeded"


def test_three_losses_before_an_engine_is_ready_fail_the_job(scene: Scene) -> None:
    for attempt in range(3):
        assert scene.job.state == "running"
        (chunk,) = scene.claim(f"w{attempt}", ready=False)
        given_up = states.give_up(chunk, error=f"the weights are not there ({attempt})", ready=False)
        assert scene.jobs.swap_chunk(chunk, given_up)
        scene.steps()
    assert (scene.job.state, scene.job.error) == ("failed", "the weights are not there (2)")
    assert all((c.losses, c.solo) == (0, False) for c in scene.chunks())
    assert scene.answers() == {}


def test_losses_before_an_engine_is_ready_are_forgotten_when_a_chunk_is_done(scene: Scene) -> None:
    for _ in range(3):
        for attempt in range(2):
            scene.queue.dead.add(f"w{attempt}")
            scene.claim(f"w{attempt}", ready=False)
            scene.steps()
        assert scene.finish(scene.claim()[0])
    assert (scene.job.state, scene.job.unready_losses) == ("running", 2)


def test_an_outage_counts_against_no_chunk(scene: Scene) -> None:
    lost = scene.chunks()[:7]
    lose(scene, lost)
    assert scene.job.waves == 1
    assert all((row(scene, c).losses, row(scene, c).solo, row(scene, c).state) == (0, False, "sent") for c in lost)


def test_losses_counted_before_an_outage_is_recognised_are_forgiven(scene: Scene) -> None:
    solo = [scene.set_chunk(c, solo=True) for c in scene.chunks()]
    lose(scene, solo[:3])
    assert [row(scene, c).losses for c in solo[:3]] == [1, 1, 1]
    for chunk in solo[:3]:
        sent = row(scene, chunk)
        scene.set_chunk(sent, state="pending")
    scene.clock.sleep(1)
    sent = [row(scene, c) for c in solo[3:7]]
    for chunk in sent:
        assert scene.jobs.swap_chunk(chunk, states.claim(chunk, worker=f"dead-{chunk.id}", ready=True))
        scene.queue.dead.add(f"dead-{chunk.id}")
    scene.steps()
    assert scene.job.waves == 1
    assert [row(scene, c).losses for c in solo[:7]] == [0] * 7


def test_three_outages_with_nothing_done_between_fail_the_job(scene: Scene) -> None:
    for wave in range(3):
        assert (scene.job.state, scene.job.waves) == ("running", wave)
        lose(scene, scene.chunks("sent")[:7])
        scene.clock.sleep(LEASE)
        scene.steps()
    assert (scene.job.state, scene.counts().get("quarantined", 0)) == ("failed", 0)
    assert "was lost while it ran" in scene.job.error


def test_outages_are_forgotten_when_a_chunk_is_done(scene: Scene) -> None:
    for _ in range(3):
        lose(scene, scene.chunks("sent")[:6])
        scene.clock.sleep(LEASE)
        assert scene.finish(scene.claim()[0])
        scene.steps()
    assert (scene.job.state, scene.job.waves) == ("running", 1)


def test_where_nothing_works_nothing_is_quarantined(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 5, poison=frozenset(range(100, 105)))
    assert scene.play().state == "failed"
    assert scene.answers() == {}
    assert "quarantined" not in scene.counts()


def test_a_verdict_waits_while_an_outage_is_possible(scene: Scene) -> None:
    claimed = [scene.claim(f"w{number}")[0] for number in range(8)]
    scene.queue.dead.add("w0")
    scene.steps()
    assert row(scene, claimed[0]).state == "running"
    for _ in range(4):
        scene.clock.sleep(LEASE / 3)
        assert all(scene.jobs.beat(c.id, c.generation, ready=True) for c in claimed[1:])
        scene.steps()
    assert row(scene, claimed[0]).solo
    assert (scene.job.waves, scene.counts()["running"]) == (0, 7)


def test_the_lost_chunk_of_a_cancelled_job_is_cancelled(scene: Scene) -> None:
    (chunk,) = scene.claim()
    cancel(scene.jobs, "job1")
    scene.steps()
    assert scene.jobs.beat(chunk.id, chunk.generation, ready=True)
    scene.clock.sleep(LEASE - 1)
    scene.steps()
    assert (scene.job.state, row(scene, chunk).state) == ("cancelling", "running")
    assert scene.jobs.beat(chunk.id, chunk.generation, ready=True)
    scene.steps()
    scene.clock.sleep(LEASE)
    scene.steps()
    assert (scene.job.state, row(scene, chunk).state) == ("cancelled", "cancelled")
    assert not scene.finish(chunk)


def test_a_chunk_finished_while_it_was_thought_lost_stays_done(scene: Scene) -> None:
    (chunk,) = scene.claim()
    scene.steps()
    scene.clock.sleep(LEASE)
    swap = scene.jobs.swap_chunk

    def finish_first(old: Chunk, new: Chunk) -> bool:
        scene.jobs.swap_chunk = swap
        assert scene.finish(chunk)
        stored: bool = swap(old, new)
        return stored

    scene.jobs.swap_chunk = finish_first
    scene.steps()
    assert row(scene, chunk) == replace(row(scene, chunk), state="done", losses=0)
