"""What each of several ways to answer makes of the products that were held out, from stored scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.holdout import Holdout, Mix, Part, Policy
from services.reports.task import Task
from shared.domain.ensemble import ImagePolicy, Means, ProductPolicy
from shared.domain.fits import Fit

Bool = npt.NDArray[np.bool_]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class CrossFits:
    """Fits that each leave out a fold, and the fold of every product: it is answered by the one without it."""

    fits: tuple[Fit, ...]
    fold: Int64  # int64[products], places in `fits`


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer from the same scores."""

    members: tuple[str, ...]
    views: tuple[str, ...]
    means: Means
    images: ImagePolicy
    products: ProductPolicy
    fitted: CrossFits | None = None

    @property
    def policy(self) -> Policy:
        """What duplicates may do."""
        return self.images, self.products


def judge(holdout: Holdout, products: int, ways: Sequence[Way]) -> tuple[Int16, Bool]:
    """`Task.counts` int16[ways, products, kinds], and which could be judged, bool[ways, products]: those of which an
    image can be decoded, and which some member of the way sees.
    """
    counts = np.zeros((len(ways), products, holdout.task.kinds), np.int16)
    judged = np.zeros((len(ways), products), np.bool_)
    for part in holdout.parts(way.policy for way in ways):
        for place, way in enumerate(ways):
            judged[place, part.rows] = part.answered(way.members)
            if way.fitted is None:
                counts[place, part.rows] = _counts(holdout.task, part, way, Fit())
                continue
            fold = way.fitted.fold[part.rows]
            for number in np.unique(fold).tolist():
                found = _counts(holdout.task, part, way, way.fitted.fits[number])
                counts[place, part.rows[fold == number]] = found[fold == number]
    return counts, judged


def _counts(task: Task[Any, Any], part: Part, way: Way, fit: Fit) -> Int64:
    probabilities = part.answers(Mix(way.members, way.views, way.means, fit), way.policy)
    return task.counts(part.known, probabilities, part.product_class(way.policy), fit)
