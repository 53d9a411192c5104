"""Two ways to do one thing, timed in turns: a busy machine slows both, and what is compared is their ratio."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Timed:
    """What one side took, in seconds, and what it found, to be compared with the other side's."""

    seconds: float
    answer: Any


Side = Callable[[], Timed]


class UnequalError(Exception):
    """The two sides did not do the same."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How often our side fits into the time of the other, one ratio per round."""

    name: str
    words: str
    expected: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def line(self) -> str:
        spread = f"({min(self.ratios):.2f}-{max(self.ratios):.2f})"
        verdict = "ok   " if self.ratio >= self.expected else "below"
        figures = f"{self.ratio:5.2f}x {spread:13} expected {self.expected:.2f}x  {verdict}"
        return f"{self.name:12} {figures} {len(self.ratios)} rounds  {self.words}"


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> Timed:
    """Do the work; what it returns is its answer."""
    began = clock()
    answer = work()
    return Timed(clock() - began, answer)


def compare(
    name: str,
    ours: Side,
    theirs: Side,
    same: Callable[[Any, Any], bool],
    *,
    expected: float,
    words: str,
    rounds: int = ROUNDS,
) -> Comparison:
    """One round to warm up, then `rounds` in which the sides take turns at being first.

    Raises UnequalError where `same(our answer, their answer)` is false in any round.
    """
    ratios = []
    for number in range(rounds + 1):
        if number % 2:
            our, their = ours(), theirs()
        else:
            their, our = theirs(), ours()
        if not same(our.answer, their.answer):
            raise UnequalError(f"{name}: the two sides gave different answers in round {number}")
        ratios.append(their.seconds / our.seconds)
    return Comparison(name, words, expected, tuple(ratios[1:]))
