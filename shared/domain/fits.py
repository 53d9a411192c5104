"""What a fit of one combination found, as an ensemble version holds it, and the decision on a prediction by it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.records import Prediction

Float32 = npt.NDArray[np.float32]
SOURCES = ("model", "image duplicate", "product duplicate")
SURE = 0.5
"""A label of a higher probability is answered where no threshold was fitted."""
DECISIONS = ("accept", "level 2", "level 1", "review")
"""From the finest answer to none: the category, the best node of a level, a person."""
LEVEL_OF = {"level 1": 0, "level 2": 1}
"""Of the decisions that stop in the tree: the place of their level."""

Thresholds = tuple[float | None, float | None, float | None]
"""The lowest probability of all decisions but the last, in their order; None where no probability is high enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One combination's fit; as it comes, it changes nothing and decides nothing."""

    weights: Mapping[str, float] = field(default_factory=dict)  # of its members, instead of the file's; empty: those
    temperature: float = 1.0
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)  # by source
    accuracy: float = 0.0  # that the thresholds are for
    products: int = 0  # that it was fitted on
    label_thresholds: tuple[float, ...] = ()  # of a multilabel ensemble: one, or one per label; empty: `SURE`

    def plain(self) -> dict[str, Any]:
        """JSON values from which `from_plain` makes an equal fit."""
        plain = asdict(self) | {"thresholds": {source: list(values) for source, values in self.thresholds.items()}}
        if not plain.pop("label_thresholds"):
            return plain
        return plain | {"label_thresholds": list(self.label_thresholds)}

    def of_labels(self, labels: int) -> Float32:
        """The probability above which each label is answered: float32[labels]."""
        return np.broadcast_to(np.array(self.label_thresholds or (SURE,), dtype=np.float32), (labels,))


def from_plain(plain: Mapping[str, Any]) -> Fit:
    """The fit of what `plain` made, also after a round trip through JSON or YAML."""
    thresholds: dict[str, Thresholds] = {}
    for source, (accept, second, first) in plain["thresholds"].items():
        thresholds[source] = (accept, second, first)
    return Fit(**{**plain, "thresholds": thresholds, "label_thresholds": tuple(plain.get("label_thresholds", ()))})


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
