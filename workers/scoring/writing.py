"""From what the engine computed to rows: outcomes, kept scores and a chunk's end."""

from io import BytesIO

import numpy as np

from shared.domain import states
from shared.domain.predictions import to_plain
from shared.domain.records import Chunk, Outcome
from workers.scoring.chunks import ChunkResult


def outcomes(chunk: Chunk, result: ChunkResult) -> list[Outcome]:
    """One outcome per product, at its dataset-wide position."""
    return [
        Outcome(
            job=chunk.job,
            product=product.product,
            position=chunk.position + place,
            chunk=chunk.id,
            source=product.source,
            overridden=product.overridden,
            predictions={name: to_plain(prediction) for name, prediction in product.predictions.items()},
            model_only={name: to_plain(prediction) for name, prediction in product.model_only.items()},
            error=product.error,
        )
        for place, product in enumerate(result.products)
    ]


def scores(result: ChunkResult) -> bytes:
    """The kept scores as an npz file; empty where the job keeps none."""
    if result.scores is None:
        return b""
    file = BytesIO()
    np.savez(file, allow_pickle=False, **result.scores)
    return file.getvalue()


def finished(chunk: Chunk, result: ChunkResult, *, seconds: dict[str, float], scores_key: str) -> Chunk:
    """The chunk's row once its outcomes are stored; `seconds` are those outside the engine."""
    failed = sum(1 for product in result.products if product.error)
    return states.finish_chunk(
        chunk,
        done=len(result.products) - failed,
        failed=failed,
        decided=result.decided,
        scored_images=result.scored_images,
        precision=result.precision,
        batch_images=result.batch_images,
        seconds=result.seconds | seconds,
        scores=scores_key,
    )
