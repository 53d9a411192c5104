"""From what the engine computed to rows: outcomes, kept scores and a chunk's end."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from shared.domain import states
from shared.domain.predictions import to_plain
from shared.domain.records import Chunk, Outcome, Prediction
from workers.scoring.chunks import ChunkResult, ProductResult
from workers.scoring.copying import Prepared


def outcomes(chunk: Chunk, prepared: Prepared, result: ChunkResult) -> list[Outcome]:
    """One outcome per product, at its dataset-wide position: the copied ones and the engine's."""
    places = np.flatnonzero(prepared.rest).tolist()
    return prepared.copied + [
        _outcome(chunk, place, prepared.images[place], product)
        for place, product in zip(places, result.products, strict=True)
    ]


def _outcome(chunk: Chunk, place: int, images: str, product: ProductResult) -> Outcome:
    predictions = _plain(product.predictions)
    untouched = product.model_only is product.predictions  # by duplicates; rounding it all again takes its time
    return Outcome(
        job=chunk.job,
        product=product.product,
        position=chunk.position + place,
        chunk=chunk.id,
        source=product.source,
        overridden=product.overridden,
        predictions=predictions,
        model_only=predictions if untouched else _plain(product.model_only),
        images=images,
        error=product.error,
    )


def _plain(predictions: Mapping[str, Prediction]) -> dict[str, Any]:
    return {name: to_plain(prediction) for name, prediction in predictions.items()}


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
        device=result.device,
        seconds=result.seconds | seconds,
        scores=scores_key,
    )
