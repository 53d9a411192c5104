"""From what the engine computed to rows: outcomes, kept scores and a chunk's end."""

from io import BytesIO

import numpy as np

from shared.domain import states
from shared.domain.predictions import to_plain
from shared.domain.records import Chunk, Outcome
from workers.scoring.chunks import ChunkResult
from workers.scoring.copying import Prepared


def outcomes(chunk: Chunk, prepared: Prepared, result: ChunkResult) -> list[Outcome]:
    """One outcome per product, at its dataset-wide position: the copied ones and the engine's."""
    places = np.flatnonzero(prepared.rest).tolist()
    return prepared.copied + [
        Outcome(
            job=chunk.job,
            product=product.product,
            position=chunk.position + place,
            chunk=chunk.id,
            source=product.source,
            overridden=product.overridden,
            predictions={name: to_plain(prediction) for name, prediction in product.predictions.items()},
            model_only={name: to_plain(prediction) for name, prediction in product.model_only.items()},
            images=prepared.images[place],
            error=product.error,
        )
        for place, product in zip(places, result.products, strict=True)
    ]


def scores(result: ChunkResult) -> bytes:
    """The kept scores as an npz file; empty where the job keeps none."""
    if result.scores is None:
        return b""
    file = BytesIO()
    np.savez(file, allow_pickle=False, **result.scores)
    return file.getvalue()


def finished(chunk: Chunk, result: ChunkResult, *, copied: int, seconds: dict[str, float], scores_key: str) -> Chunk:
    """The chunk's row once its outcomes are stored; `seconds` are those outside the engine."""
    failed = sum(1 for product in result.products if product.error)
    return states.finish_chunk(
        chunk,
        done=len(result.products) - failed + copied,
        failed=failed,
        decided=result.decided,
        copied=copied,
        scored_images=result.scored_images,
        precision=result.precision,
        batch_images=result.batch_images,
        seconds=result.seconds | seconds,
        scores=scores_key,
    )
