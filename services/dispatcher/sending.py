"""Which chunk goes next: a bounded window per pool, turns between jobs, messages of consecutive chunks."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from shared.domain.records import SCHEMA, Chunk, Job


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


def take_turns(groups: dict[str, deque[list[Chunk]]], room: int, last: str) -> Iterator[tuple[str, list[Chunk]]]:
    """One message of each job in turn, beginning after the job served `last`, until `room` chunks are on the way.

    `groups` are the messages of each job, oldest job first; they are used up.
    """
    turns = deque(groups)
    if last in turns:
        turns.rotate(-list(turns).index(last) - 1)
    while turns and room > 0:
        job = turns.popleft()
        if groups[job]:
            group = groups[job].popleft()[:room]
            room -= len(group)
            turns.append(job)
            yield job, group


def message(job: Job, group: Sequence[Chunk]) -> dict[str, Any]:
    """What a worker is sent: keys only."""
    return {"schema": SCHEMA, "job": job.id, "chunks": [chunk.id for chunk in group]}
