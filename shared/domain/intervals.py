"""Intervals of shares: no figure is reported without its n and how far chance could move it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
_Z = NormalDist().inv_cdf(0.975)

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson, 1927) at a confidence level; (0, 1) where n is 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def lower_bounds(successes: Int64, n: Int64) -> Float64:
    """The lower ends of Wilson's 95 % intervals of many shares, each n at least 1: int64[k] twice -> float64[k]."""
    share, spread = successes / n, _Z * _Z / n
    half = np.sqrt(share * (1 - share) * spread + spread * spread / 4)
    return np.asarray(np.maximum(0.0, (share + spread / 2 - half) / (1 + spread)))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of right answers with its 95 % interval; NaN where n is 0."""

    n: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.n:
            return "no figure (n=0)"
        return f"{self.share:.3f} ({self.low:.3f}-{self.high:.3f}, n={self.n})"

    def plain(self) -> dict[str, Any]:
        """As a run's files hold it: `accuracy`, `n` and `interval` (low and high), null where n is 0."""
        if not self.n:
            return {"accuracy": None, "n": 0, "interval": None}
        return {"accuracy": self.share, "n": self.n, "interval": [self.low, self.high]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Accuracy":
        """Of what `plain` made."""
        return cls(plain["n"], plain["accuracy"], *plain["interval"]) if plain["n"] else accuracy(0, 0)


def accuracy(successes: int, n: int) -> Accuracy:
    """The share of `successes` among `n`, with its interval."""
    low, high = wilson(successes, n)
    return Accuracy(n, successes / n if n else math.nan, low, high)


@dataclass(frozen=True, slots=True)
class Average:
    """The mean of n values, or a figure of n products, with its 95 % interval; NaN where n is 0.

    A gain is certain where the interval leaves 0 out.
    """

    n: int
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.n:
            return "no figure (n=0)"
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f}, n={self.n})"

    def plain(self) -> dict[str, Any]:
        """As JSON values, null where n is 0."""
        return {"n": self.n, **{name: getattr(self, name) if self.n else None for name in ("mean", "low", "high")}}


def average(values: Float64) -> Average:
    """The mean of one or more values; its interval is the percentiles of a bootstrap (Efron, 1979), drawn with a fixed
    seed. Of differences between two ways on the same products it is the paired bootstrap.
    """
    n = len(values)
    noise = np.random.default_rng(0)
    means = [values[noise.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Average(n, float(values.mean()), float(low), float(high))


def statistic(counts: npt.NDArray[np.integer[Any]], of: Callable[[Int64], Float64]) -> Average:
    """What `of` (int64[k, s] -> float64[s]) makes of sums of counts int64[n, k] over n products, with its interval by a
    bootstrap over products. Of two ways side by side in `counts`, and a difference, it is the paired bootstrap.
    """
    distinct, times = np.unique(counts, axis=0, return_counts=True)
    return repeated(distinct, times, of)


def repeated(counts: npt.NDArray[np.integer[Any]], times: Int64, of: Callable[[Int64], Float64]) -> Average:
    """The same of products of which `times` int64[g] have the counts int64[g, k]: how often each is drawn is
    multinomial, so a bootstrap costs no more for many products than for few."""
    n = int(times.sum())
    if not n:
        return Average(0, math.nan, math.nan, math.nan)
    drawn = np.random.default_rng(0).multinomial(n, times / n, size=RESAMPLES)
    low, high = np.quantile(of((drawn @ counts).T), [0.025, 0.975])
    return Average(n, float(of((times @ counts)[:, None])[0]), float(low), float(high))


def around(mean: float, draws: Float64, n: int) -> Average:
    """A figure of n products within 0 and 1, whose `draws` are a bootstrap's about some other centre: 1.96 of their
    standard deviations to both sides (Efron and Tibshirani, 1993, chapter 13)."""
    return normal(mean, float(draws.std(ddof=1)), n)


def normal(mean: float, deviation: float, n: int) -> Average:
    """A figure of n products within 0 and 1, and 1.96 of its standard deviations to both sides."""
    half = _Z * deviation
    return Average(n, mean, max(0.0, mean - half), min(1.0, mean + half))
