"""`python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME...` runs some, or all of a group.

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

GROUPS = {
    "alone": {
        "decoder": ("decoder", "measure"),
        "walk": ("offset_walk", "measure"),
        "ingest": ("ingest", "measure"),
        "engine": ("engine", "measure_network"),
        "stub": ("engine", "measure_decoding"),
    },
    "services": {
        "messages": ("messages", "measure"),
        "overhead": ("overhead", "measure"),
        "packed_put": ("packed_put", "measure"),
        "job_status": ("job_status", "measure"),
        "two_workers": ("two_workers", "measure"),
    },
}
"""What needs no server, and what runs on real ones. Name on the command line -> module, which is imported when it runs,
and function."""

BENCHMARKS = {name: where for group in GROUPS.values() for name, where in group.items()}


def function(name: str) -> Callable[..., Comparison]:
    """What measures; called with a folder for its files."""
    module, measure = BENCHMARKS[name]
    found: Callable[..., Comparison] = getattr(import_module(f"benchmarks.{module}"), measure)
    return found


def main(names: list[str]) -> int:
    os.environ.update(wiring.COMPUTING)  # as the processes that compute get it; torch, which heeds it, is loaded later
    if not names:
        print(*(f"{group}: {' '.join(of_group)}" for group, of_group in GROUPS.items()), sep="\n")
        return 0
    if unknown := set(names) - {*BENCHMARKS, *GROUPS}:
        there = ", ".join([*BENCHMARKS, *GROUPS])
        print(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {there}", file=sys.stderr)
        return 2
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as workers run, see shared.wiring
    found: list[Comparison] = []
    failures: list[str] = []
    with TemporaryDirectory(prefix="shelver-benchmarks-") as folder:
        for name in [one for asked in names for one in GROUPS.get(asked, [asked])]:
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
