"""What each of several ways to answer makes of the products that were held out, from stored scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reports.holdout import Holdout, Mix, Part, Policy
from shared.domain.ensemble import ImagePolicy, Means, ProductPolicy

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


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


def judge(holdout: Holdout, products: int, ways: Sequence[Way]) -> tuple[Bool, Bool]:
    """bool [ways, products] that are right, and the same shape of those that could be judged: of which an image can be
    decoded, and which some member of the way sees.
    """
    right = np.zeros((len(ways), products), np.bool_)
    judged = np.zeros((len(ways), products), np.bool_)
    for part in holdout.parts(way.policy for way in ways):
        for place, way in enumerate(ways):
            judged[place, part.rows] = part.answered(way.members)
            right[place, part.rows] = _answers(part, way) == part.known
    return right, judged


def _answers(part: Part, way: Way) -> Int64:
    """The class of each product."""
    best = part.answers(Mix(way.members, way.views, way.means), way.policy).argmax(axis=1)
    product_class = part.product_class(way.policy)
    return np.where(product_class >= 0, product_class, best)
