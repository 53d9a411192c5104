"""Holdout scores as a training leaves them, with values that a test chooses."""

from dataclasses import fields
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from shared import holdout_scores, layout
from shared.holdout_scores import VIEWS, HeldOut, scores_key
from shared.ports import Objects

Scores = npt.NDArray[np.float16]


def put_scores(objects: Objects, run: str, held: HeldOut, scores: Scores | None = None, classes: int = 3) -> Scores:
    """Write the files of a run, random scores by default; returns the scores [rows, views, classes]."""
    if scores is None:
        noise = np.random.default_rng(len(run) + len(held.row)).random((len(held.row), len(VIEWS), classes))
        scores = (noise / noise.sum(axis=2, keepdims=True)).astype(np.float16)
    starts = [*holdout_scores.file_starts(held.product_id).tolist(), len(held.row)]
    for number, (start, stop) in enumerate(pairwise(starts)):
        objects.put(scores_key(run, number), _npy(scores[start:stop]))
    for item in fields(HeldOut):
        objects.put(layout.run_file(run, f"holdout/{item.name}.npy"), _npy(getattr(held, item.name)))
    return scores


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
