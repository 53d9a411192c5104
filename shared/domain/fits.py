"""What a fit of one combination found, as an ensemble version holds it, and the decision on a prediction by it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.errors import NewerSchemaError
from shared.domain.predictions import DECIMALS
from shared.domain.records import Prediction

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SOURCES = ("model", "image duplicate", "product duplicate")
SURE = 0.5
"""A label of a higher probability is answered where no threshold was fitted."""
DECISIONS = ("accept", "level 2", "level 1", "review")
"""From the finest answer to none: the category, the best node of a level, a person."""
LEVEL_OF = {"level 1": 0, "level 2": 1}
"""Of the decisions that stop in the tree: the place of their level."""

Thresholds = tuple[float | None, float | None, float | None]
"""The lowest probability of all decisions but the last, in their order; None where no probability is high enough."""

Precisions = tuple[float, float, float]
"""Of what duplicates decide: the shares whose category, node of level 2 and node of level 1 are right."""

_SELDOM = ("precisions", "label_thresholds", "rare_weights", "rare", "frequent_from", "powers", "biases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One combination's fit; as it comes, it changes nothing and decides nothing."""

    weights: Mapping[str, float] = field(default_factory=dict)  # of its members, instead of the file's; empty: those
    temperature: float = 1.0
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)  # by source
    accuracy: float = 0.0  # that the thresholds are for
    products: int = 0  # that it was fitted on
    label_thresholds: tuple[float, ...] = ()  # of a multilabel ensemble: one, or one per label; empty: `SURE`
    rare_weights: Mapping[str, float] = field(default_factory=dict)  # in rare categories; empty: `weights` there too
    rare: tuple[bool, ...] = ()  # of each category, where there are such weights
    frequent_from: int = 0  # images in training with which a category is not rare
    powers: Mapping[str, float] = field(default_factory=dict)  # of its members, see `stacking`; empty: a mean of them
    biases: tuple[float, ...] = ()  # of each category, beside powers; empty: none
    precisions: Mapping[str, Precisions] = field(default_factory=dict)  # by source that decides alone; else 1

    def plain(self) -> dict[str, Any]:
        """JSON values from which `from_plain` makes an equal fit; what most fits lack is left out where it is empty."""
        by_source = {"thresholds": self.thresholds, "precisions": self.precisions}
        lists = {name: {source: list(of) for source, of in values.items()} for name, values in by_source.items()}
        plain = asdict(self) | lists
        for name in _SELDOM:
            if not plain[name]:
                del plain[name]
            elif isinstance(plain[name], tuple):
                plain[name] = list(plain[name])
        return plain

    def words(self) -> str:
        """What was fitted of the answers, beside thresholds of decisions."""
        parts = {
            "weights": self.weights and not self.rare_weights,
            "weights apart": self.rare_weights,
            "temperature": self.temperature != 1,
            "stacking": self.powers and not self.biases,
            "stacking with biases": self.biases,
            "thresholds of labels": self.label_thresholds,
        }
        return ", ".join(name for name, there in parts.items() if there)

    def weighing(self, members: Sequence[str], given: Mapping[str, float]) -> Float64:
        """The weights of members, those `given` or 1 where none were fitted: float64[members], or where rare categories
        have their own float64[members, classes]."""
        weights = np.array([(self.weights or given).get(name, 1.0) for name in members], dtype=np.float64)
        if not self.rare_weights:
            return weights
        rare = np.array([self.rare_weights[name] for name in members], dtype=np.float64)
        return np.where(np.array(self.rare), rare[:, None], weights[:, None])

    def stack(self, members: Sequence[str]) -> tuple[Float64, Float64]:
        """What `stacking.stacked` takes: float64[members], and float64[classes] or [1]."""
        return np.array([self.powers[name] for name in members]), np.array(self.biases or (0.0,))

    def of_labels(self, labels: int) -> Float32:
        """The probability above which each label is answered: float32[labels]."""
        return np.broadcast_to(np.array(self.label_thresholds or (SURE,), dtype=np.float32), (labels,))


def from_plain(plain: Mapping[str, Any]) -> Fit:
    """The fit of what `plain` made, also after a round trip through JSON or YAML. Raises NewerSchemaError."""
    if unknown := plain.keys() - Fit.__dataclass_fields__:  # without them it would answer otherwise
        raise NewerSchemaError(f"a fit has '{min(unknown)}', which this Shelver does not know")
    thresholds: dict[str, Thresholds] = {}
    for source, (accept, second, first) in plain["thresholds"].items():
        thresholds[source] = (accept, second, first)
    precisions: dict[str, Precisions] = {}
    for source, (category, second, first) in plain.get("precisions", {}).items():
        precisions[source] = (category, second, first)
    arrays = {name: tuple(plain.get(name, ())) for name in ("label_thresholds", "rare", "biases")}
    return Fit(**{**plain, "thresholds": thresholds, "precisions": precisions, **arrays})


def worth(fit: Fit, source: str, certain: Prediction) -> Prediction:
    """What duplicates of this source decided, as probable as such answers were right; as if one other class had the
    rest. Without a measure it stays certain."""
    if source not in fit.precisions:
        return certain
    category, second, first = fit.precisions[source]
    rest = 1 - category
    return replace(
        certain,
        probability=category,
        top=((certain.class_index, category),),
        nodes=tuple((node, p) for (node, _), p in zip(certain.nodes, (first, second, category), strict=True)),
        margin=round(max(category - rest, 0.0), DECIMALS),
        entropy=round(-sum(p * math.log(p) for p in (category, rest) if p > 0), DECIMALS) + 0.0,
    )


def decide(fit: Fit, source: str, prediction: Prediction) -> str:
    """One of `DECISIONS`, or nothing where the fit has no thresholds; `level 2` means its best node of level 2.

    What was never seen on the holdout, such as a source, is for review.
    """
    if not fit.thresholds:
        return ""
    probabilities = (prediction.probability, prediction.nodes[1][1], prediction.nodes[0][1])
    lowest = fit.thresholds.get(source, (None, None, None))
    for decision, probability, least in zip(DECISIONS, probabilities, lowest, strict=False):
        if least is not None and probability >= least:
            return decision
    return DECISIONS[-1]
