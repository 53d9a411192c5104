"""Which chunk goes next: a bounded window per pool, fair turns between jobs, messages of consecutive chunks."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.dispatcher.turns import Turns
from shared.domain.records import SCHEMA, Chunk, Job
from shared.settings import DispatchSettings


def window(settings: DispatchSettings, on_the_way: Iterable[Chunk]) -> int:
    """How many chunks of a pool may be on their way: two messages for each worker that is seen to run one.

    A pool that grows is seen to within some steps: those that get a message make room for as many others.
    """
    workers = {chunk.worker for chunk in on_the_way if chunk.state == "running"}
    return max(settings.window_chunks, 2 * settings.message_chunks * len(workers))


def messages(pending: Sequence[Chunk], most: int) -> Iterator[list[Chunk]]:
    """Groups of at most `most` consecutive chunks; a solo chunk is a group of its own."""
    group: list[Chunk] = []
    for chunk in pending:
        follows = group and group[-1].position + group[-1].products == chunk.position
        if group and (chunk.solo or group[-1].solo or not follows or len(group) == most):
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group


def take_turns(groups: dict[str, deque[list[Chunk]]], room: int, turns: Turns) -> Iterator[tuple[str, list[Chunk]]]:
    """Messages, each of the job whose turn it is, until `room` chunks are on the way.

    `groups` are the messages of each job, oldest job first; they are used up. What is given is charged.
    """
    while room > 0 and (waiting := [job for job, left in groups.items() if left]):
        job = turns.next(waiting)
        group = groups[job].popleft()[:room]
        room -= len(group)
        turns.charge(job, group)
        yield job, group


def message(job: Job, group: Sequence[Chunk]) -> dict[str, Any]:
    """What a worker is sent: keys only."""
    return {"schema": SCHEMA, "pool": job.pool, "job": job.id, "chunks": [chunk.id for chunk in group]}
