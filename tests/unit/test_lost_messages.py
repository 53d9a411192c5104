"""What the dispatcher makes of messages that nobody took: they are sent again, and nothing counts against a chunk."""

from pathlib import Path

import pytest

from tests.job_scene import Scene, all_sent

LEASE = 30.0


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return all_sent(tmp_path)


def test_messages_of_a_dead_worker_are_sent_again(scene: Scene) -> None:
    before = len(scene.queue.messages)
    scene.queue.dead.add("w1")
    scene.steps(3)
    assert [c.generation for c in scene.chunks("sent")] == [3] * 10
    assert sum(len(message["chunks"]) for message in scene.queue.messages[before:]) == 10


def test_what_was_sent_and_is_not_in_an_empty_queue_is_sent_again_while_others_run(scene: Scene) -> None:
    (chunk,) = scene.claim()

    def generations_after_a_lease_time() -> set[int]:
        for _ in range(3):
            scene.steps(seconds=LEASE / 2)
            assert scene.jobs.beat(chunk.id, chunk.generation, ready=True)
        return {one.generation for one in scene.chunks("sent")}

    assert generations_after_a_lease_time() == {1}  # its messages wait
    scene.queue.messages.clear()
    scene.queue.away = True
    assert generations_after_a_lease_time() == {1}
    scene.queue.away = False
    scene.steps(2)
    assert {one.generation for one in scene.chunks("sent")} == {3}
    assert sum(len(message["chunks"]) for message in scene.queue.messages) == 9
    assert generations_after_a_lease_time() == {3}
    assert {(one.losses, one.solo) for one in scene.chunks()} == {(0, False)}
    assert scene.jobs.chunk(chunk.id).generation == chunk.generation


def test_a_pool_of_zero_never_counts_against_anything(scene: Scene) -> None:
    for _ in range(20):
        scene.steps(seconds=scene.settings.leases.sent_seconds / 2)
    assert scene.job.state == "running"
    assert all((c.losses, c.solo, c.state) == (0, False, "sent") and c.generation > 10 for c in scene.chunks())
    scene.queue.messages.clear()
    scene.clock.sleep(scene.settings.leases.sent_seconds)
    assert scene.play().state == "succeeded"
