"""A large job on many played workers, on virtual time: how much of their devices' time is used while chunks wait.

Everything that can go wrong does (`tests/simulated_pool.py`); rows, dispatcher, claims and workers are the real ones.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processor import seconds
from benchmarks.rounds import Comparison, Goals, Round, Timed, UnequalError
from tests.simulated_pool import Simulation
from tests.simulated_rows import DoubledError, LostError


def measure(folder: Path, *, chunks: int = 10_000, workers: int = 64, rounds: int = 1) -> Comparison:
    """Five minutes a round, each of another seed. Raises UnequalError where work was lost or done twice."""
    found = tuple(_round(folder, chunks, workers, seed) for seed in range(1, 1 + rounds))
    return Comparison(
        "pool",
        f"device time not idle while one of {chunks} chunks waits; ours: that of {workers} workers on virtual time, "
        "with deaths, stalls, evictions, a queue that loses and doubles, dispatchers that die",
        Goals(must=0.99),
        found,
    )


def _round(folder: Path, chunks: int, workers: int, seed: int) -> Round:
    with TemporaryDirectory(dir=folder) as home:
        before = seconds()
        try:
            books = Simulation(Path(home), chunks=chunks, workers=workers, seed=seed).run()
        except (DoubledError, LostError) as error:
            raise UnequalError(f"pool: seed {seed}: {error}") from error
        return Round(Timed(books.available, None, seconds() - before), Timed(books.available - books.idle, None))
