"""`python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME...` runs some, `all` runs all of them.

A ratio below what is expected is printed as such and is no failure, since machines differ; unequal answers are one.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rounds import Comparison, UnequalError
from shared import wiring

BENCHMARKS = {
    "decoder": ("decoder", "measure"),
    "walk": ("offset_walk", "measure"),
    "ingest": ("ingest", "measure"),
    "engine": ("engine", "measure_network"),
    "stub": ("engine", "measure_decoding"),
}
"""Name on the command line -> module, which is imported when it runs, and function."""


def function(name: str) -> Callable[..., Comparison]:
    """What measures; called with a folder for its files."""
    module, measure = BENCHMARKS[name]
    found: Callable[..., Comparison] = getattr(import_module(f"benchmarks.{module}"), measure)
    return found


def main(names: list[str]) -> int:
    os.environ.update(wiring.COMPUTING)  # as the processes that compute get it; torch, which heeds it, is loaded later
    if not names:
        print("benchmarks:", *BENCHMARKS, "(or: all)")
        return 0
    if unknown := set(names) - {*BENCHMARKS, "all"}:
        print(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr
        )
        return 2
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as workers run, see shared.wiring
    found: list[Comparison] = []
    failures: list[str] = []
    with TemporaryDirectory(prefix="shelver-benchmarks-") as folder:
        for name in BENCHMARKS if "all" in names else names:
            try:
                comparison = function(name)(Path(folder))
            except UnequalError as error:
                failures.append(str(error))
                print(error, flush=True)
                continue
            found.append(comparison)
            print(comparison.line(), flush=True)
    if len(found) > 1:
        print("\nAll, as medians and ranges of ratios per round:")
        print(*(comparison.line() for comparison in found), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
