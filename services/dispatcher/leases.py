"""Leases without clocks: a lease is (generation, beat), and only the observer's own clock says when it ran out."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.records import Chunk
from shared.settings import LeaseSettings


@dataclass(frozen=True, slots=True)
class _Sight:
    generation: int
    beat: int
    first: float  # when this generation was first seen
    since: float  # when this beat was


class Leases:
    """What an observer remembers of sent and running chunks: since when their lease has not changed."""

    def __init__(self, settings: LeaseSettings) -> None:
        self._settings = settings
        self._seen: dict[str, _Sight] = {}

    def observe(self, chunks: Iterable[Chunk], now: float) -> None:
        """Note every sent and running chunk there is; those not among `chunks` are forgotten."""
        self._seen = {chunk.id: self._sight(chunk, now) for chunk in chunks}

    def _sight(self, chunk: Chunk, now: float) -> _Sight:
        before = self._seen.get(chunk.id)
        if before is None or before.generation != chunk.generation:
            return _Sight(chunk.generation, chunk.beat, now, now)
        return before if before.beat == chunk.beat else _Sight(chunk.generation, chunk.beat, before.first, now)

    def first_seen(self, chunk: Chunk) -> float:
        """When the chunk was first seen in this generation."""
        return self._seen[chunk.id].first

    def expired(self, chunk: Chunk, now: float) -> bool:
        """Whether a running chunk was not kept alive for a lease time, or a sent one not claimed by its deadline."""
        limit = self._settings.lease_seconds if chunk.state == "running" else self._settings.sent_seconds
        return now - self._seen[chunk.id].since >= limit

    def overdue(self, chunk: Chunk, now: float) -> bool:
        """Whether a sent chunk was not claimed within a lease time."""
        return now - self._seen[chunk.id].since >= self._settings.lease_seconds

    def forget(self) -> None:
        """Start anew: what a store that was away did not show says nothing about workers."""
        self._seen = {}
