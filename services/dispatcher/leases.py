"""Leases without clocks: a lease is (generation, beat), and only the observer's own clock says when it ran out."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.records import Chunk
from shared.settings import LeaseSettings


@dataclass(frozen=True, slots=True)
class _Sight:
    generation: int
    beat: int
    since: float


class Leases:
    """What an observer remembers of sent and running chunks: since when their lease has not changed."""

    def __init__(self, settings: LeaseSettings) -> None:
        self._settings = settings
        self._seen: dict[str, _Sight] = {}

    def observe(self, chunks: Iterable[Chunk], now: float) -> None:
        """Note every sent and running chunk there is; those not among `chunks` are forgotten."""
        seen: dict[str, _Sight] = {}
        for chunk in chunks:
            before = self._seen.get(chunk.id)
            same = before is not None and (before.generation, before.beat) == (chunk.generation, chunk.beat)
            seen[chunk.id] = before if before is not None and same else _Sight(chunk.generation, chunk.beat, now)
        self._seen = seen

    def expired(self, chunk: Chunk, now: float) -> bool:
        """Whether a running chunk was not kept alive for a lease time, or a sent one not claimed by its deadline."""
        limit = self._settings.lease_seconds if chunk.state == "running" else self._settings.sent_seconds
        return now - self._seen[chunk.id].since >= limit

    def forget(self) -> None:
        """Start anew: what a store that was away did not show says nothing about workers."""
        self._seen = {}
