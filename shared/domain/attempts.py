"""What counts as an attempt: the rules that tell a bad product from a bad environment, over what was observed.

A chunk is lost when its worker is known dead, stopped raising its beat for a lease time, or gave it up. Only the loss
of a chunk that ran alone on a worker whose engine was ready counts. Everything else about the loss (outages, company,
workers that never became ready) is the environment's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.domain.records import Chunk, Job

ROOT_LOSSES = 2  # counted losses after which a planned chunk is split
DESCENDANT_LOSSES = 1  # and one that a split made
PRODUCT_LOSSES = 2  # and after which a single product is quarantined
FAILING_WAVES = 3  # outages with no chunk done between them
FAILING_UNREADY = 3  # losses before "engine ready" with no chunk done between them
OUTAGE_CHUNKS = 5
OUTAGE_SHARE = 0.01

Verdict = Literal["wait", "outage", "unready", "solo", "counted"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A running chunk whose worker is lost. `noticed` is in seconds of the observer's own clock."""

    chunk: Chunk
    noticed: float
    company: bool  # its worker held another chunk
    recent: int = 0  # losses decided before that may belong to one outage with this one


def outage_limit(chunks: int) -> float:
    """More related losses than this are an outage; `chunks` is the job's number of chunks."""
    return max(OUTAGE_CHUNKS, OUTAGE_SHARE * chunks)


def related(chunk: Chunk, done: int, *, seen: float, earlier: float, done_then: int) -> bool:
    """Whether the loss of `chunk`, first seen running at `seen`, may belong to one outage with a loss at `earlier`.

    Those that ran at the same time may, and those with no chunk done between them (`done` now, `done_then` chunks). But
    for a solo chunk in a proven environment only the former: else the workers that several bad products take down one
    after the other would look like an outage.
    """
    return seen < earlier or (done == done_then and not (chunk.solo and proven(chunk, done)))


def judge(losses: Sequence[Loss], *, running: int, chunks: int, now: float, lease_seconds: float) -> list[Verdict]:
    """One verdict per loss, all undecided so far.

    While the `running` other chunks could yet turn the losses into an outage, each waits at most a lease time for its
    verdict.
    """
    limit = outage_limit(chunks)
    recent = max((loss.recent for loss in losses), default=0)
    if recent + len(losses) > limit:
        return ["outage"] * len(losses)
    possible = recent + len(losses) + running > limit
    return ["wait" if possible and now - loss.noticed < lease_seconds else _alone(loss) for loss in losses]


def _alone(loss: Loss) -> Verdict:
    if not loss.chunk.ready:
        return "unready"
    return "counted" if loss.chunk.solo and not loss.company else "solo"


def proven(chunk: Chunk, done: int) -> bool:
    """Whether the environment is known to work, with `done` chunks of the job done.

    For a single product: once any is. For more products, one has to be done since the chunk was first lost or cut off:
    where workers die of everything, larger chunks show it before products are tried.
    """
    return done > (0 if chunk.products == 1 else chunk.done_before)


def due(chunk: Chunk, done: int) -> Literal["send", "split", "quarantine", "hold"]:
    """What a pending chunk needs next; `done` chunks of its job are done.

    A product is not blamed in an environment where nothing ever worked: until a chunk is done, it is held.
    """
    if chunk.products == 1:
        if chunk.losses < PRODUCT_LOSSES:
            return "send"
        return "quarantine" if proven(chunk, done) else "hold"
    return "split" if chunk.losses >= (DESCENDANT_LOSSES if chunk.parent else ROOT_LOSSES) else "send"


def failing(job: Job) -> bool:
    """Whether the environment is broken: the job is to fail, and nothing is to be quarantined."""
    return job.waves >= FAILING_WAVES or job.unready_losses >= FAILING_UNREADY
