"""What a worker tells of its work: plain events, small enough for one write to a pipe."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from shared.domain.records import Chunk
from workers.scoring.chunks import ChunkResult

_SOURCES = (("images", "image duplicate"), ("products", "product duplicate"))
Tell = Callable[[Mapping[str, Any]], None]


def nobody(_: Mapping[str, Any]) -> None:
    """Nobody listens."""


def moved() -> dict[str, Any]:
    """Something went on: a batch, a chunk, a loading."""
    return {"event": "moved"}


def loaded(seconds: float, resident_bytes: int) -> dict[str, Any]:
    """An ensemble is in memory."""
    return {"event": "loaded", "seconds": seconds, "bytes": resident_bytes}


def warm() -> dict[str, Any]:
    """The resident ensemble is in memory."""
    return {"event": "warm"}


def let_go(end: str) -> dict[str, Any]:
    """A chunk was handed back, given up or cancelled."""
    return {"event": "chunk", "end": end}


def done(chunk: Chunk, result: ChunkResult, policies: Mapping[str, str]) -> dict[str, Any]:
    """A chunk is done: `chunk` is its row, `policies` those of the job, for images and products."""
    sources = Counter(product.source for product in result.products if not product.error)
    return {
        "event": "chunk",
        "end": "done",
        "products": chunk.done + chunk.failed,
        "images": result.scored_images,
        "views": result.scored_images * result.views,
        "seconds": dict(chunk.seconds),
        "fill": _fill(result),
        "decisions": [[policies[kind], source, sources[source]] for kind, source in _SOURCES if sources[source]],
        "memory": result.device_bytes,
    }


def _fill(result: ChunkResult) -> float:
    """Share of the batches' places that held images."""
    if not result.scored_images:
        return 0.0
    batches = -(-result.scored_images // result.batch_images)
    return result.scored_images / (batches * result.batch_images)
