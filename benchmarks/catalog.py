"""Two catalogs of small products, one ten times as large, through ingest, planning, scoring and export: whether memory
grows with them.

Each stage is a process of its own (`benchmarks.catalog_stages`); the ratio is that of the stage which grows most.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from benchmarks import small_products
from benchmarks.catalog_stages import STAGES
from benchmarks.rounds import Comparison, Goals, Round, Timed, UnequalError


@dataclass(frozen=True, slots=True)
class _Took:
    bytes: int
    seconds: float


def measure(folder: Path, *, small: int = 200_000, large: int = 2_000_000, rounds: int = 1) -> Comparison:
    """Ten minutes a round, 5 GB. Raises UnequalError where an export has not every product."""
    found, words = [], ""
    for _ in range(rounds):
        theirs, ours = (_take(folder, products) for products in (small, large))
        grown = {stage: took.bytes / theirs[stage].bytes for stage, took in ours.items()}
        worst = max(grown, key=grown.__getitem__)
        slower = {stage: took.seconds / theirs[stage].seconds * small / large for stage, took in ours.items()}
        words = ", ".join(
            f"{stage} {took.bytes / 2**20:.0f} MiB, {grown[stage]:.2f}x memory, {slower[stage]:.2f}x seconds a product"
            for stage, took in ours.items()
        )
        found.append(Round(Timed(ours[worst].bytes, None), Timed(theirs[worst].bytes, None)))
    size = f"memory of the largest process, {small:,} products, in the stage that grows most; ours: {large:,}"
    return Comparison("catalog", f"{size} ({words})", Goals(must=1 / 1.1), tuple(found), "B")


def _take(folder: Path, products: int) -> dict[str, _Took]:
    with TemporaryDirectory(dir=folder) as own:
        home = Path(own)
        small_products.write(home / "dump.bson", products)
        found = {stage: _run(stage, home) for stage in STAGES}
        exported = {
            "csv": _lines(home / "answers.csv") - 1,
            "parquet": pq.ParquetFile(home / "answers.parquet").metadata.num_rows,
        }
    if wrong := {form: count for form, count in exported.items() if count != products}:
        raise UnequalError(f"catalog: of {products} products exports have {wrong}")
    return found


def _run(stage: str, home: Path) -> _Took:
    command = [sys.executable, "-m", "benchmarks.catalog_stages", stage, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnequalError(f"catalog: {stage} failed: {done.stderr.strip().splitlines()[-1]}")
    peak, seconds = done.stdout.split()[-2:]
    return _Took(int(peak), float(seconds))


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)
