"""The least value of a smooth function."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def least(objective: Callable[[Float64], tuple[float, Float64]], start: Float64, positive: int = 0) -> Float64:
    """Where a function of float64[n], given with its gradient, is least, found from `start`: by L-BFGS-B (Byrd, Lu,
    Nocedal and Zhu, 1995). The first `positive` parameters stay at 0 or above.
    """
    from scipy.optimize import Bounds, minimize  # a third of a second, which most comparisons do not need

    lowest = np.full(len(start), -np.inf)
    lowest[:positive] = 0
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=Bounds(lowest, np.inf))
    return np.asarray(found.x, dtype=np.float64)
