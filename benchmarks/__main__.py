"""`python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME...` runs some, or all of a group.

After each of them, what is found is printed and written to benchmarks/results/ as JSON and as a Markdown table. A ratio
below what is asked for is said to be so and is no failure, since machines differ; unequal answers are one.
"""

import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine, results
from benchmarks.rounds import Comparison, UnequalError
from shared import wiring

BENCHMARKS = {
    "decoder": ("decoder", "measure"),
    "walk": ("offset_walk", "measure"),
    "ingest": ("ingest", "measure"),
    "engine": ("engine", "measure_network"),
    "stub": ("engine", "measure_decoding"),
    "loader": ("loader", "measure"),
    "look_ups": ("look_ups", "measure"),
    "training": ("training", "measure"),
    "ingest_memory": ("memory", "measure_ingest"),
    "worker_memory": ("memory", "measure_worker"),
    "messages": ("messages", "measure"),
    "overhead": ("overhead", "measure"),
    "packed_put": ("packed_put", "measure"),
    "job_status": ("job_status", "measure"),
    "two_workers": ("two_workers", "measure"),
    "ray": ("ray_data", "measure"),
    "ray_best": ("ray_data", "measure_best"),
    "dataloader": ("torch_loader", "measure"),
    "dataloader_best": ("torch_loader", "measure_best"),
    "webdataset": ("web_dataset", "measure"),
    "webdataset_best": ("web_dataset", "measure_best"),
    "textbook": ("torch_loader", "measure_textbook"),
    "pool": ("pool", "measure"),
    "catalog": ("catalog", "measure"),
}
"""Name on the command line -> module, which is imported when it runs, and function."""

GROUPS = {
    "alone": (
        *("decoder", "walk", "ingest", "engine", "stub", "loader", "look_ups", "training"),
        *("ingest_memory", "worker_memory"),
    ),
    "services": ("messages", "overhead", "packed_put", "job_status", "two_workers"),
    "gpu": ("engine", "stub", "look_ups", "training"),
    "peers": ("ray", "ray_best", "dataloader", "dataloader_best", "webdataset", "webdataset_best", "textbook"),
    "scale": ("pool", "catalog"),
}
"""What needs no server, what runs on real ones, what tells of a GPU, where there is one, other programs that need
packages of their own, and what only size shows."""


def function(name: str) -> Callable[..., Comparison]:
    """What measures; called with a folder for its files."""
    module, measure = BENCHMARKS[name]
    found: Callable[..., Comparison] = getattr(import_module(f"benchmarks.{module}"), measure)
    return found


def main(names: list[str], to: Path = results.FOLDER) -> int:
    os.environ.update(wiring.COMPUTING)  # as the processes that compute get it; torch, which heeds it, is loaded later
    if not names:
        print(*(f"{group}: {' '.join(of_group)}" for group, of_group in GROUPS.items()), sep="\n")
        return 0
    if unknown := set(names) - {*BENCHMARKS, *GROUPS}:
        there = ", ".join([*BENCHMARKS, *GROUPS])
        print(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {there}", file=sys.stderr)
        return 2
    if "gpu" in names and not machine.gpu():
        print("there is no GPU that torch can use", file=sys.stderr)
        return 2
    return _run([one for asked in names for one in GROUPS.get(asked, (asked,))], to)


def _run(names: Iterable[str], to: Path) -> int:
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    revision = machine.revision(Path(__file__).parent)
    about = {"began": began, "revision": revision, "machine": machine.machine(), "versions": machine.versions()}
    found: list[Comparison] = []
    failures: list[str] = []
    with TemporaryDirectory(prefix="shelver-benchmarks-") as folder:
        for name in names:
            try:
                found.append(function(name)(Path(folder)))
                print(found[-1].line(), flush=True)
            except UnequalError as error:
                failures.append(str(error))
                print(error, flush=True)
            written = results.write(to, began, about, found, failures)
    print(f"\nAll, as medians and ranges of ratios per round, also in {written}:")
    print(*(comparison.line() for comparison in found), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
