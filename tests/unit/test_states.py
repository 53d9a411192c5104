import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import states
from shared.domain.errors import ConflictError
from shared.domain.records import Chunk, Job, JobOptions

JOB = Job(
    id="j",
    dataset="d",
    dataset_fingerprint="f",
    ensemble="e",
    version="v",
    options=JobOptions(image_duplicates="none", product_duplicates="none"),
    products=10,
    images=12,
)
CHUNK = Chunk(id="c", job="j", pack=0, offset=0, length=100, position=3, products=4, images=5)
FINISHED = {"decided": 1, "scored_images": 5, "precision": "bf16", "batch_images": 8, "seconds": {"decode": 1.0}}

JOB_STEPS: dict[Callable[[Job], Job], tuple[set[str], str | None]] = {
    states.plan: ({"queued"}, "planning"),
    states.start: ({"planning"}, "running"),
    lambda job: states.finish(job, failed=0, at=1.0): ({"running"}, "succeeded"),
    lambda job: states.finish(job, failed=1, at=1.0): ({"running"}, "finished with errors"),
    lambda job: states.fail(job, error="broken", at=1.0): ({"queued", "planning", "running"}, "failed"),
    states.cancel: ({"queued", "planning", "running"}, "cancelling"),
    lambda job: states.end_cancelled(job, at=1.0): ({"cancelling"}, "cancelled"),
    lambda job: states.resolve_precision(job, precision="bf16", batch_images=8): ({"running", "cancelling"}, None),
    lambda job: states.count_unready(job, progress=0, error="lost"): ({"running"}, None),
    lambda job: states.count_wave(job, progress=0, error="lost"): ({"running"}, None),
}
CHUNK_STEPS: dict[Callable[[Chunk], Chunk], tuple[set[str], str]] = {
    states.send: ({"pending"}, "sent"),
    states.resend: ({"sent"}, "pending"),
    lambda chunk: states.claim(chunk, worker="w", ready=True): ({"sent"}, "running"),
    states.hand_back: ({"running"}, "pending"),
    lambda chunk: states.give_up(chunk, error="broken", ready=True): ({"running"}, "running"),
    lambda chunk: states.lose_uncounted(chunk, error="lost"): ({"running"}, "pending"),
    lambda chunk: states.lose_solo(chunk, done=2, error="lost"): ({"running"}, "pending"),
    lambda chunk: states.finish_chunk(chunk, done=3, failed=1, **FINISHED): ({"running"}, "done"),
    lambda chunk: states.split(chunk, cuts=(3, 5), done=2): ({"pending"}, "split"),
    states.forgive: ({"pending"}, "pending"),
    states.cancel_chunk: ({"pending", "sent", "running"}, "cancelled"),
}


@pytest.mark.parametrize("state", [*states.UNFINISHED, *states.ENDED])
@pytest.mark.parametrize("step", JOB_STEPS)
def test_job_steps(step: Callable[[Job], Job], state: str) -> None:
    allowed, after = JOB_STEPS[step]
    job = dataclasses.replace(JOB, state=state, generation=7)
    if state not in allowed:
        with pytest.raises(ConflictError, match=f"is {state}"):
            step(job)
    else:
        assert step(job).state == (after or state)
        assert step(job).generation == 8


@pytest.mark.parametrize("state", ["pending", "sent", "running", "done", "split", "quarantined", "cancelled"])
@pytest.mark.parametrize("step", CHUNK_STEPS)
def test_chunk_steps(step: Callable[[Chunk], Chunk], state: str) -> None:
    allowed, after = CHUNK_STEPS[step]
    chunk = dataclasses.replace(CHUNK, state=state, generation=7, beat=5, through=2)
    if state not in allowed:
        with pytest.raises(ConflictError, match=f"is {state}"):
            step(chunk)
    else:
        assert step(chunk).state == after
        assert step(chunk).generation == 8
        assert (step(chunk).beat, step(chunk).through) == (5, 0)


def test_every_step_is_covered() -> None:
    def names(steps: Any) -> set[str]:
        return {name for step in steps for name in (step.__name__, *step.__code__.co_names)}

    public = {n for n, f in inspect.getmembers(states, inspect.isfunction) if not n.startswith("_")}
    tested_below = {"halve", "quarantine", "lose_counted"}
    assert public - {"dataclass", "replace"} - tested_below <= names(JOB_STEPS) | names(CHUNK_STEPS)


def test_only_a_first_engine_decides_the_precision() -> None:
    job = states.resolve_precision(dataclasses.replace(JOB, state="running"), precision="bf16", batch_images=8)
    assert (job.precision, job.batch_images) == ("bf16", 8)
    with pytest.raises(ConflictError, match="bf16 already"):
        states.resolve_precision(job, precision="float32", batch_images=8)


def test_the_batch_shape_only_shrinks() -> None:
    job = dataclasses.replace(JOB, state="running", precision="bf16", batch_images=8)
    halved = states.halve(job, batch_images=4)
    assert (halved.batch_images, halved.halvings) == (4, 1)
    for wrong in (8, 16, 0):
        with pytest.raises(ConflictError, match="only shrinks"):
            states.halve(job, batch_images=wrong)


def test_a_loss_counts_only_for_a_solo_chunk() -> None:
    running = dataclasses.replace(CHUNK, state="running", worker="w", ready=True)
    with pytest.raises(ConflictError, match="did not run alone"):
        states.lose_counted(running, error="lost")
    alone = states.lose_counted(dataclasses.replace(running, solo=True), error="lost")
    assert (alone.losses, alone.worker, alone.ready, alone.error) == (1, "", False, "lost")
    assert states.forgive(alone).losses == 0
    assert states.forgive(states.forgive(alone)).losses == 0


def test_the_first_loss_notes_what_was_done_before() -> None:
    running = dataclasses.replace(CHUNK, state="running")
    first = states.lose_solo(running, done=2, error="lost")
    again = states.lose_solo(dataclasses.replace(first, state="running"), done=9, error="lost")
    assert (first.done_before, again.done_before) == (2, 2)


def test_a_chunk_given_up_is_marked_until_it_is_released() -> None:
    given_up = states.give_up(dataclasses.replace(CHUNK, state="running", worker="w"), error="no memory", ready=False)
    assert (given_up.lost, given_up.worker, given_up.error) == (True, "w", "no memory")
    assert not states.lose_uncounted(given_up, error="no memory").lost


def test_counts_must_add_up() -> None:
    with pytest.raises(ConflictError, match="4 products"):
        states.finish_chunk(dataclasses.replace(CHUNK, state="running"), done=3, failed=0, **FINISHED)


@pytest.mark.parametrize("cuts", [(), (3,), (4, 5), (3, 3), (3, 5, 4)])
def test_cuts_must_begin_at_the_chunk_and_rise(cuts: tuple[int, ...]) -> None:
    with pytest.raises(ConflictError, match="cannot be cut"):
        states.split(CHUNK, cuts=cuts, done=0)


def test_only_a_single_product_is_quarantined() -> None:
    with pytest.raises(ConflictError, match="4 products"):
        states.quarantine(CHUNK, answered=False)
    single = dataclasses.replace(CHUNK, products=1)
    assert (states.quarantine(single, answered=False).failed, states.quarantine(single, answered=False).done) == (1, 0)
    assert (states.quarantine(single, answered=True).failed, states.quarantine(single, answered=True).done) == (0, 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12))
def test_signs_of_a_broken_environment_are_forgotten_with_progress(events: list[tuple[bool, int]]) -> None:
    job = dataclasses.replace(JOB, state="running")
    progress = unready = waves = 0
    for is_wave, advance in events:
        progress += advance
        if advance:
            unready = waves = 0
        waves, unready = waves + is_wave, unready + (not is_wave)
        count = states.count_wave if is_wave else states.count_unready
        job = count(job, progress=progress, error="lost")
        assert (job.waves, job.unready_losses) == (waves, unready)
