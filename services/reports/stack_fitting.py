"""Fitting the powers and biases of a stack on some of the products held out."""

import numpy as np
import numpy.typing as npt

from services.reports.optimum import least
from shared.domain import stacking
from shared.domain.digests import scatter, seed_of

_BYTES = 2**30  # of the logarithms of all that members say: of a large catalog some thousand products

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class StackFitter:
    """Holds what m members say of products that are taken at random, as many as there is memory for."""

    def __init__(self, products: int, members: int, classes: int) -> None:
        most = min(products, max(1, _BYTES // (4 * members * classes)))
        self._chosen = np.zeros(products, np.bool_)
        self._chosen[scatter(seed_of("stack"), np.arange(products)).argsort()[:most]] = True
        self._logs: Float32 = np.empty((most, members, classes), np.float32)
        self._rows = np.zeros(most, np.int64)
        self._known = np.zeros(most, np.int64)
        self._count = 0

    def take(self, rows: Int64, alone: Float64, known: Int64) -> None:
        """Keep what is chosen of products: their rows int64[n], probabilities float64[n, m, classes], right classes."""
        mine = self._chosen[rows]
        place = slice(self._count, self._count + int(mine.sum()))
        self._logs[place] = stacking.logarithms(alone[mine])
        self._rows[place], self._known[place] = rows[mine], known[mine]
        self._count = place.stop

    def fitted(self, rest: Bool, *, biases: bool) -> tuple[Float64, Float64]:
        """Powers float64[m] and biases float64[classes], or none, of the products `rest`, bool by row."""
        kept = slice(self._count)
        objective = stacking.objective(self._logs[kept], self._known[kept], rest[self._rows[kept]])
        members, classes = self._logs.shape[1:]
        found = least(objective, stacking.start(members, classes if biases else 0), positive=members)
        return found[:members], found[members:]
