"""What each of several ways to answer makes of the products that were held out, from stored scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reports.holdout import Holdout, Mix, Policy
from shared.domain.ensemble import ImagePolicy, Means, ProductPolicy

Bool = npt.NDArray[np.bool_]
Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer from the same scores."""

    members: tuple[str, ...]
    views: tuple[str, ...]
    means: Means
    images: ImagePolicy
    products: ProductPolicy

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
            probabilities = part.answers(Mix(way.members, way.views, way.means), way.policy)
            counts[place, part.rows] = holdout.task.counts(part.known, probabilities, part.product_class(way.policy))
    return counts, judged
