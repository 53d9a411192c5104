"""What fits of every task share: each is made `FOLDS` + 1 ways, so that whatever is said of a product was fitted on the
folds that it, and all that share an image with it, are not in.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from services.reports.fitted import Decided, Step
from services.reports.holdout import Holdout, Mix
from services.reports.ways import CrossFits
from shared.domain import fitting
from shared.domain.ensemble import Mean, Means
from shared.domain.errors import BadInputError
from shared.domain.fits import Fit
from shared.domain.intervals import Accuracy, Average

FOLDS = 5

Int64 = npt.NDArray[np.int64]


class Fitter(ABC):
    """Fits step by step, each time without each fold, to judge by it, and on all products that can be fitted on."""

    fitted_on: ClassVar[str]
    """Which products weights are fitted on."""
    means: ClassVar[str]
    """Under which means weights are fitted."""

    def __init__(self, holdout: Holdout, mix: Mix) -> None:
        self.holdout = holdout
        self.mix = mix
        self.fold = fitting.folds(fitting.groups(holdout.first_image, holdout.image_md5), FOLDS)
        """Of each product of the holdout."""
        self.undecodable = len(self.fold)
        """Products of which no image could be decoded."""

    @property
    @abstractmethod
    def usable(self) -> Int64:
        """The products that weights are fitted on: rows of the holdout."""

    @staticmethod
    @abstractmethod
    def fits_weights(means: Means) -> bool:
        """Whether weights are fitted under these means."""

    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """Fit all that is not left out."""

    @abstractmethod
    def left_out(self) -> dict[str, str]:
        """What is not fitted here, by the names of steps, and why."""

    @abstractmethod
    def fit(self, way: int) -> Fit:
        """What was found without fold `way`, -1 for the fit on all products; after `steps`."""

    @abstractmethod
    def counts(self) -> tuple[Int64, Int64]:
        """`Task.counts` of the judged products without any fit, and by the fit without each one's fold."""

    def cross_fits(self, product_id: Int64) -> CrossFits:
        """The fits without each fold, for these products of the holdout in their order; after `steps`."""
        order = np.argsort(self.holdout.product_id)
        place = order[np.searchsorted(self.holdout.product_id[order], product_id)]
        return CrossFits(tuple(self.fit(way) for way in range(FOLDS)), self.fold[place])

    def decided(self) -> tuple[Decided, ...]:
        """What decisions come of it."""
        return ()

    def told(self) -> dict[str, Accuracy]:
        """By source, how much of what duplicates alone decide is right: how probable the fit makes it."""
        return {}

    def macro(self) -> tuple[Average, Average] | None:
        """Macro F1 of labels before and after."""
        return None

    def without_positives(self) -> tuple[int, ...]:
        """Category ids of labels that no product fitted on has."""
        return ()

    def check(self, combination: str, least: int) -> None:
        """Raises BadInputError where there is too little to fit on."""
        n = len(self.usable)
        if n < least:
            reason = f"{n} products that {self.fitted_on} were held out by every member; a fit needs {least}"
            raise BadInputError(combination, reason, remedy="train with a larger holdout, or ask for less with --least")
        if np.ptp(self.fold[self.usable]) == 0:
            raise BadInputError(combination, "all products held out share images", remedy="train with a larger holdout")

    def no_weights(self) -> str:
        """Why none are fitted; empty where they are."""
        return self.no_mixing() or ("" if self.fits_weights(self.mix.means) else f"they are fitted where {self.means}")

    def no_mixing(self) -> str:
        """Why nothing is fitted of how much each member counts; empty where something is."""
        if len(self.mix.members) == 1:
            return "there is one member"
        if not self.holdout.sees_all:
            return "they are fitted where every member sees all products"
        return ""


def arithmetic(means: Means) -> bool:
    """Whether all three means are."""
    return all(mean == Mean() for mean in (means.views, means.members, means.images))


def of_own(of_ways: npt.NDArray[Any], fold: Int64) -> npt.NDArray[Any]:
    """[s, n, ...] -> [n, ...]: of each product what the way without its fold says."""
    return of_ways[fold, np.arange(len(fold))]
