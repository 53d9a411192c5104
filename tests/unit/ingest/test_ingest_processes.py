from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.ingest.pack_walk import Rules
from services.ingest.pack_writer import PackAccount
from services.ingest.processes import Processes
from services.ingest.progress import Meter
from services.ingest.ranges import Target
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import FailedError, StoreUnavailableError
from shared.dumps import FileDump
from shared.ingest_progress import IngestProgress
from shared.settings import IngestSettings

Products = Callable[..., list[dict[str, Any]]]


def meter(reports: list[IngestProgress], total: int | None, clock: Callable[[], float] = lambda: 0.0) -> Meter:
    return Meter(reports.append, total, clock)


def test_a_process_that_dies_is_named_and_ends_the_ingest(capfd: pytest.CaptureFixture[str]) -> None:
    with Processes("no target", 1, meter([], None)) as processes, pytest.raises(FailedError, match="ended with code 1"):
        processes.write(3, 0)
    assert "Traceback" in capfd.readouterr().err


def test_a_store_that_is_away_is_told_from_a_defect(shop: Any, products: Products, tmp_path: Path) -> None:
    source = FileDump(Path(shop.dump(products(5))))
    (tmp_path / "file").write_bytes(b"")
    rules = Rules(frozenset([10, 20, 30]), 0, 8)
    target = Target(DirectoryObjects(tmp_path / "file"), "d", rules, IngestSettings(), "ingest")
    with (
        Processes((target, source), 1, meter([], None)) as processes,
        pytest.raises(StoreUnavailableError, match="check the disk"),
    ):
        processes.write(0, 0)


def test_progress_has_a_rate_and_the_time_left() -> None:
    now = [100.0]
    reports: list[IngestProgress] = []
    counting = meter(reports, 1000, lambda: now[0])
    counting.skip([PackAccount(number=0, start=100, end=600, documents=7, bad=((120, "why"),))])
    counting.advance(50, 5, 0)
    assert reports == []
    now[0] += 2.0
    counting.advance(50, 5, 1)
    assert reports == [IngestProgress(600, 1000, 17, 2, 50.0, 8.0)]


def test_an_unknown_total_gives_no_time_left() -> None:
    reports: list[IngestProgress] = []
    counting = meter(reports, None)
    counting.advance(50, 5, 0)
    counting.report()
    assert (reports[-1].bytes_done, reports[-1].bytes_total, reports[-1].seconds_left) == (50, None, None)
