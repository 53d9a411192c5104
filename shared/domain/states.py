"""The state machines of scoring jobs and chunks: pure functions from an old row to a new one.

Every swap raises `generation` by one; a store applies it by compare-and-set on (state, generation). A step that the
state does not allow raises ConflictError, and so does a step of a row that has ended.

    job:   queued -> planning -> running -> succeeded | finished with errors | failed | cancelling -> cancelled
    chunk: pending -> sent -> running -> done | split | quarantined | cancelled
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.domain.errors import ConflictError
from shared.domain.records import Chunk, Job

UNFINISHED = ("queued", "planning", "running", "cancelling")
ENDED = ("succeeded", "finished with errors", "failed", "cancelled")
ANSWERED = ("succeeded", "finished with errors")
"""Ended with an outcome for every product."""
ACTIVE_CHUNKS = ("sent", "running")


def _job(job: Job, allowed: tuple[str, ...], step: str, **changes: Any) -> Job:
    if job.state not in allowed:
        raise ConflictError(f"job {job.id} is {job.state}: {step} is possible only when {' or '.join(allowed)}")
    return replace(job, generation=job.generation + 1, **changes)


def plan(job: Job) -> Job:
    """Its chunks are being inserted."""
    return _job(job, ("queued",), "planning", state="planning")


def start(job: Job) -> Job:
    """Every chunk is there."""
    return _job(job, ("planning",), "starting", state="running")


def finish(job: Job, *, failed: int, at: float) -> Job:
    """Every product has an outcome, `failed` of them an error; `at` is a time for people."""
    state = "finished with errors" if failed else "succeeded"
    return _job(job, ("running",), "finishing", state=state, error="", ended=at)


def fail(job: Job, *, error: str, at: float) -> Job:
    """The environment does not let the job go on."""
    return _job(job, ("queued", "planning", "running"), "failing", state="failed", error=error, ended=at)


def cancel(job: Job) -> Job:
    """Asked to stop; it is `cancelled` once no chunk is on the way."""
    return _job(job, ("queued", "planning", "running"), "cancelling", state="cancelling")


def end_cancelled(job: Job, *, at: float) -> Job:
    """No chunk is on the way any more."""
    return _job(job, ("cancelling",), "ending", state="cancelled", ended=at)


def resolve_precision(job: Job, *, precision: str, batch_images: int) -> Job:
    """What the first engine that is ready runs with; every other one follows."""
    if job.precision:
        raise ConflictError(f"job {job.id} runs in {job.precision} already")
    return _job(job, ("running", "cancelling"), "resolving", precision=precision, batch_images=batch_images)


def halve(job: Job, *, batch_images: int) -> Job:
    """A device ran out of memory: from now on `batch_images` at once."""
    if not 0 < batch_images < job.batch_images:
        raise ConflictError(f"job {job.id}: the batch shape only shrinks ({job.batch_images} to {batch_images})")
    return _job(job, ("running", "cancelling"), "halving", batch_images=batch_images, halvings=job.halvings + 1)


def count_unready(job: Job, *, progress: int, error: str) -> Job:
    """A worker was lost before its engine was ready; `progress` is the number of chunks done or quarantined."""
    fresh = progress > job.progress
    return _job(
        job,
        ("running",),
        "counting a loss",
        unready_losses=(0 if fresh else job.unready_losses) + 1,
        waves=0 if fresh else job.waves,
        progress=progress,
        error=error,
    )


def count_wave(job: Job, *, progress: int, error: str) -> Job:
    """An outage; `progress` as in `count_unready`."""
    fresh = progress > job.progress
    return _job(
        job,
        ("running",),
        "counting an outage",
        waves=(0 if fresh else job.waves) + 1,
        unready_losses=0 if fresh else job.unready_losses,
        progress=progress,
        error=error,
    )


# --- chunks ---------------------------------------------------------------------------------------------------------


def _chunk(chunk: Chunk, allowed: tuple[str, ...], step: str, **changes: Any) -> Chunk:
    if chunk.state not in allowed:
        raise ConflictError(f"chunk {chunk.id} is {chunk.state}: {step} is possible only when {' or '.join(allowed)}")
    return replace(chunk, generation=chunk.generation + 1, through=0, **changes)


def send(chunk: Chunk) -> Chunk:
    """Named in a message."""
    return _chunk(chunk, ("pending",), "sending", state="sent")


def resend(chunk: Chunk) -> Chunk:
    """Nobody claimed it in time, or its message is known to be lost: uncounted."""
    return _chunk(chunk, ("sent",), "taking back", state="pending")


def claim(chunk: Chunk, *, worker: str, ready: bool) -> Chunk:
    """`worker` runs it from now on; `ready`: its engine is."""
    return _chunk(chunk, ("sent",), "claiming", state="running", worker=worker, ready=ready, error="")


def hand_back(chunk: Chunk, *, error: str = "") -> Chunk:
    """Its worker stops, cannot run it, or a store is away: uncounted."""
    return _released(chunk, "handing back", error=error)


def give_up(chunk: Chunk, *, error: str, ready: bool) -> Chunk:
    """Its worker failed, by no fault of a product: the dispatcher treats it as lost at once, with these words."""
    return _chunk(chunk, ("running",), "giving up", lost=True, ready=ready, error=error)


def lose_uncounted(chunk: Chunk, *, error: str) -> Chunk:
    """Lost in an outage, or before the engine was ready."""
    return _released(chunk, "losing", error=error)


def lose_solo(chunk: Chunk, *, done: int, error: str) -> Chunk:
    """Lost by a ready worker, uncounted; from now on it runs alone. `done`: chunks of the job that are done."""
    before = chunk.done_before if chunk.solo else done
    return _released(chunk, "losing", solo=True, done_before=before, error=error)


def lose_counted(chunk: Chunk, *, error: str) -> Chunk:
    """Lost while it ran alone on a ready worker."""
    if not chunk.solo:
        raise ConflictError(f"chunk {chunk.id} did not run alone: its loss does not count")
    return _released(chunk, "losing", losses=chunk.losses + 1, error=error)


def forgive(chunk: Chunk) -> Chunk:
    """Its last counted loss turned out to be part of an outage."""
    return _chunk(chunk, ("pending",), "forgiving", losses=max(0, chunk.losses - 1))


def _released(chunk: Chunk, step: str, **changes: Any) -> Chunk:
    return _chunk(chunk, ("running",), step, state="pending", worker="", ready=False, lost=False, **changes)


def finish_chunk(
    chunk: Chunk,
    *,
    done: int,
    failed: int,
    decided: int,
    scored_images: int,
    precision: str,
    batch_images: int,
    seconds: Mapping[str, float],
    device: str = "",
    copied: int = 0,
    scores: str = "",
) -> Chunk:
    """Its outcomes are stored, `copied` of those `done` from another job. Counts are not of what was new there."""
    if done + failed != chunk.products:
        raise ConflictError(f"chunk {chunk.id} has {chunk.products} products, not {done} + {failed}")
    return _chunk(
        chunk,
        ("running",),
        "finishing",
        state="done",
        done=done,
        failed=failed,
        decided=decided,
        copied=copied,
        scored_images=scored_images,
        precision=precision,
        batch_images=batch_images,
        device=device,
        seconds=dict(seconds),
        scores=scores,
        error="",
    )


def split(chunk: Chunk, *, cuts: tuple[int, ...], done: int) -> Chunk:
    """Its children take over; `cuts` are the positions of their first products, `done` as in `lose_solo`."""
    if len(cuts) < 2 or cuts[0] != chunk.position or list(cuts) != sorted(set(cuts)):
        raise ConflictError(f"chunk {chunk.id} cannot be cut at {cuts}")
    return _chunk(chunk, ("pending",), "splitting", state="split", cuts=cuts, done_before=done)


def quarantine(chunk: Chunk, *, answered: bool) -> Chunk:
    """A single product that takes its workers down. `answered`: a worker stored its prediction before it was lost."""
    if chunk.products != 1:
        raise ConflictError(f"chunk {chunk.id} has {chunk.products} products: only a single one is quarantined")
    return _chunk(
        chunk, ("pending",), "quarantining", state="quarantined", done=int(answered), failed=int(not answered)
    )


def cancel_chunk(chunk: Chunk) -> Chunk:
    """Its job was cancelled."""
    return _chunk(chunk, ("pending", "sent", "running"), "cancelling", state="cancelled")
