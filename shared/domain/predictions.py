"""From probabilities to predictions: top k, best node per level, margin and entropy; the reference for every device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.records import Prediction
from shared.domain.taxonomy import LEVELS, Taxonomy

Float = npt.NDArray[np.floating[Any]]
Integer = npt.NDArray[np.integer[Any]]

DECIMALS = 7
"""Decimals of a prediction's probabilities, margin and entropy: what float32 holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a prediction needs of n probability vectors: all that a device has to send back."""

    class_index: Integer  # [n, k], best first; ties: the lower class index
    probability: Float  # [n, k]
    node_index: Integer  # [n, levels], the best node per level; ties: the lower node index
    node_probability: Float  # [n, levels]
    margin: Float  # [n], best minus second best
    entropy: Float  # [n], nats


def summarise(probabilities: Float, taxonomy: Taxonomy, top_k: int) -> Summary:
    """The summary of float[n, classes], rows summing to 1, with k = min(top_k, classes)."""
    p = probabilities.astype(np.float64)
    order = np.argsort(-p, axis=1, kind="stable")[:, : max(2, top_k)]
    best = np.take_along_axis(p, order, axis=1)
    node_index = np.empty((len(p), LEVELS), dtype=np.int64)
    node_probability = np.empty((len(p), LEVELS))
    for level in range(LEVELS):
        sums = _node_sums(p, taxonomy, level)
        node_index[:, level] = sums.argmax(axis=1)
        node_probability[:, level] = sums.max(axis=1)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return Summary(
        class_index=order[:, :top_k],
        probability=best[:, :top_k],
        node_index=node_index,
        node_probability=node_probability,
        margin=best[:, 0] - best[:, 1] if p.shape[1] > 1 else best[:, 0],
        entropy=np.maximum(-(p * logs).sum(axis=1), 0.0),
    )


def _node_sums(p: npt.NDArray[np.float64], taxonomy: Taxonomy, level: int) -> npt.NDArray[np.float64]:
    node = taxonomy.node_of[level]
    order = np.argsort(node, kind="stable")
    first = np.searchsorted(node[order], np.arange(len(taxonomy.nodes[level])))
    return np.asarray(np.add.reduceat(p[:, order], first, axis=1))


def assemble(summary: Summary, taxonomy: Taxonomy) -> list[Prediction]:
    """The predictions of a summary. Classes of probability 0 are left out of the top."""
    shown = np.maximum(np.count_nonzero(summary.probability > 0, axis=1), 1).tolist()
    top = [
        tuple(zip(indexes[:count], values, strict=False))
        for indexes, values, count in zip(
            summary.class_index.tolist(), _rounded(summary.probability), shown, strict=True
        )
    ]
    nodes = [
        tuple(zip(indexes, values, strict=True))
        for indexes, values in zip(summary.node_index.tolist(), _rounded(summary.node_probability), strict=True)
    ]
    category_ids = taxonomy.category_ids[summary.class_index[:, 0]].tolist()
    return [
        Prediction(category_id, best[0][0], best[0][1], best, levels, margin, entropy)
        for category_id, best, levels, margin, entropy in zip(
            category_ids, top, nodes, _rounded(summary.margin), _rounded(summary.entropy), strict=True
        )
    ]


def _rounded(values: Float) -> list[Any]:
    """All at once: one number after another, in Python, took most of the time that making an outcome took."""
    rounded: list[Any] = np.round(values.astype(np.float64), DECIMALS).tolist()
    return rounded


def predict(probabilities: Float, taxonomy: Taxonomy, top_k: int) -> list[Prediction]:
    """The prediction of each row of float[n, classes], rows summing to 1."""
    return assemble(summarise(probabilities, taxonomy, top_k), taxonomy)


def predict_labels(probabilities: Float, thresholds: Float, taxonomy: Taxonomy, top_k: int) -> list[Prediction]:
    """The prediction of each row of float[n, labels]: the labels above `thresholds` (the same shape), best first.

    Category, class and probability are those of the most probable label, answered or not; there are no nodes, and the
    entropy is the sum over labels.
    """
    p = probabilities.astype(np.float64)
    order = np.argsort(-p, axis=1, kind="stable")
    best = np.take_along_axis(p, order, axis=1)
    answered = np.take_along_axis(probabilities > thresholds, order, axis=1)
    logs, others = (np.log(of, out=np.zeros_like(p), where=of > 0) for of in (p, 1 - p))
    entropy = _rounded(np.maximum(-(p * logs + (1 - p) * others).sum(axis=1), 0.0))
    margin = _rounded(best[:, 0] - best[:, 1] if p.shape[1] > 1 else best[:, 0])
    shown = np.maximum(np.count_nonzero(best[:, :top_k] > 0, axis=1), 1).tolist()
    best = np.round(best, DECIMALS)
    found = []
    for row in range(len(p)):
        top = tuple(zip(order[row, : shown[row]].tolist(), best[row, : shown[row]].tolist(), strict=True))
        of_row = answered[row]
        labels = tuple(zip(order[row, of_row].tolist(), best[row, of_row].tolist(), strict=True))
        index, probability = top[0]
        category = int(taxonomy.category_ids[index])
        found.append(Prediction(category, index, probability, top, (), margin[row], entropy[row], labels=labels))
    return found


def one_hot(class_index: int, taxonomy: Taxonomy) -> Prediction:
    """The prediction of a product that duplicates decided: certain, equal to `predict` of a one-hot vector."""
    nodes = tuple((int(node[class_index]), 1.0) for node in taxonomy.node_of)
    category_id = int(taxonomy.category_ids[class_index])
    return Prediction(category_id, class_index, 1.0, ((class_index, 1.0),), nodes, 1.0, 0.0)


def to_plain(prediction: Prediction) -> dict[str, Any]:
    """JSON values of a prediction: what an outcome holds per combination.

    There is a `decision` only where one was made, and `labels` only of label sets.
    """
    plain: dict[str, Any] = {
        "category_id": prediction.category_id,
        "class_index": prediction.class_index,
        "probability": prediction.probability,
        "top": prediction.top,
        "nodes": prediction.nodes,
        "margin": prediction.margin,
        "entropy": prediction.entropy,
    }
    if prediction.labels is not None:
        plain["labels"] = prediction.labels
    if prediction.decision:
        plain["decision"] = prediction.decision
    return plain


def from_plain(plain: Mapping[str, Any]) -> Prediction:
    """The prediction of what `to_plain` made, also after a round trip through JSON."""
    return Prediction(
        category_id=plain["category_id"],
        class_index=plain["class_index"],
        probability=float(plain["probability"]),
        top=tuple((i, float(p)) for i, p in plain["top"]),
        nodes=tuple((i, float(p)) for i, p in plain["nodes"]),
        margin=float(plain["margin"]),
        entropy=float(plain["entropy"]),
        decision=plain.get("decision", ""),
        labels=None if plain.get("labels") is None else tuple((i, float(p)) for i, p in plain["labels"]),
    )
