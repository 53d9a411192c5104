"""Two ways to do one thing, timed in turns: a busy machine slows both, and what is compared is their ratio."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import processor

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Timed:
    """What one side took, in seconds or the comparison's unit, and what it found, for the other side to compare."""

    seconds: float
    answer: Any
    cpu: float = math.nan  # seconds of the processor, all cores and processes together; NaN where not known

    def per(self, count: float) -> "Timed":
        """What one of `count` took."""
        return replace(self, seconds=self.seconds / count, cpu=self.cpu / count)


Side = Callable[[], Timed]


class UnequalError(Exception):
    """The two sides did not do the same."""


@dataclass(frozen=True, slots=True)
class Goals:
    """Ratios: one that there must be, and one to aim at; None where nothing is asked for."""

    must: float | None = None
    aim: float | None = None

    def words(self, ratio: float) -> dict[str, str]:
        """Each that is asked for, and whether the ratio reaches it: `2.00 ok` or `2.00 below`."""
        asked = {"must": self.must, "aim": self.aim}
        return {
            name: f"{goal:.2f} {'ok' if ratio >= goal else 'below'}" for name, goal in asked.items() if goal is not None
        }


@dataclass(frozen=True, slots=True)
class Round:
    """What both sides took."""

    ours: Timed
    theirs: Timed

    @property
    def ratio(self) -> float:
        return self.theirs.seconds / self.ours.seconds


@dataclass(frozen=True, slots=True)
class Comparison:
    """How often our side fits into the time of the other, or into whatever else was measured, one ratio per round."""

    name: str
    words: str
    goals: Goals
    rounds: tuple[Round, ...]
    unit: str = "s"

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(one.ratio for one in self.rounds)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.ratios), max(self.ratios)

    @property
    def took(self) -> tuple[float, float]:
        """Medians of our side and of the other."""
        return self._medians(lambda one: one.seconds)

    @property
    def cpu(self) -> tuple[float, float]:
        """Likewise of the processor's seconds."""
        return self._medians(lambda one: one.cpu)

    def line(self) -> str:
        low, high = self.spread
        goals = [f"{name} {words}" for name, words in self.goals.words(self.ratio).items()]
        took = " : ".join(quantity(value, self.unit) for value in self.took)
        cpu = " : ".join(quantity(value, "s") for value in self.cpu)
        figures = f"{self.ratio:6.2f}x {f'({low:.2f}-{high:.2f})':15} {'  '.join(goals):32}"
        return f"{self.name:12} {figures} {len(self.rounds)} rounds, {took}, CPU {cpu}  {self.words}"

    def _medians(self, of: Callable[[Timed], float]) -> tuple[float, float]:
        ours, theirs = [of(one.ours) for one in self.rounds], [of(one.theirs) for one in self.rounds]
        return statistics.median(ours), statistics.median(theirs)


def timed(
    work: Callable[[], Any],
    clock: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = processor.seconds,
) -> Timed:
    """Do the work; what it returns is its answer."""
    cpu_before, began = cpu(), clock()
    answer = work()
    seconds = clock() - began
    return Timed(seconds, answer, cpu() - cpu_before)


def compare(
    name: str,
    ours: Side,
    theirs: Side,
    same: Callable[[Any, Any], bool],
    *,
    must: float | None = None,
    aim: float | None = None,
    words: str,
    rounds: int = ROUNDS,
    unit: str = "s",
) -> Comparison:
    """One round to warm up, then `rounds` in which the sides take turns at being first.

    Raises UnequalError where `same(our answer, their answer)` is false in any round.
    """
    found = []
    for number in range(rounds + 1):
        if number % 2:
            our, their = ours(), theirs()
        else:
            their, our = theirs(), ours()
        if not same(our.answer, their.answer):
            raise UnequalError(f"{name}: the two sides gave different answers in round {number}")
        found.append(Round(replace(our, answer=None), replace(their, answer=None)))
    return Comparison(name, words, Goals(must, aim), tuple(found[1:]), unit)


def quantity(value: float, unit: str) -> str:
    """With three digits, and a prefix where one is better: 0.00123 s is 1.23 ms. What is not known is `-`."""
    if math.isnan(value):
        return "-"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor and not (unit == "s" and factor > 1):
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
