"""A home whose launcher runs as a service, to be asked, watched and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from shared import ensemble_file, layout, wiring
from shared.domain.records import Ingest, Training
from shared.ingest_requests import IngestOrder
from shared.ingest_requests import request as request_ingest
from shared.leadership import LAUNCHER
from shared.ports import Objects
from shared.settings import (
    GatewaySettings,
    IngestSettings,
    LauncherSettings,
    LeaseSettings,
    Settings,
    TrainingSettings,
    to_environment,
)
from shared.training_requests import request as request_training

DEADLINE_SECONDS = 240.0
ENSEMBLE = """
name: tiny
splits: {A: {seed: 7, holdout: 0.2}}
defaults: {input: {size: 32}, batch_size: 64, epochs: 2, model: test_resnet}
members:
  first: {}
  second: {init: {member: first}, epochs: 1}
"""
SETTINGS = Settings(
    ingest=IngestSettings(pack_bytes=100_000),
    leases=LeaseSettings(beat_seconds=0.2, lease_seconds=1.5),
    launcher=LauncherSettings(poll_seconds=0.1, ingest_processes=3),
    training=TrainingSettings(device="cpu", checkpoint_seconds=0.0, decode_threads=1),
)


def no_buckets(name: str) -> Objects:
    raise AssertionError(name)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class LauncherHome:
    """The stores of `home`, and at most one process of the service."""

    def __init__(self, home: Path, sources: Path) -> None:
        self.sources = sources
        self.settings = replace(SETTINGS, home=home, gateway=GatewaySettings(source_prefixes=str(sources)))
        self.stores = wiring.stores(self.settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service, and wait until it leads."""
        before = self.stores.leases.lease(LAUNCHER).term
        environment = {**os.environ, **to_environment(self.settings), "OMP_NUM_THREADS": "1"}
        with (self.settings.home / "launcher.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "services.launcher"], env=environment, stderr=log)
        wait_for(lambda: self.stores.leases.lease(LAUNCHER).term > before)

    def stop(self, number: signal.Signals) -> int:
        """End the service by a signal, and wait until what it launched has ended too; its exit code."""
        assert self.process is not None
        pids = [self.pid(path.name) for path in (self.settings.home / "processes").glob("*")]
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_SECONDS)
        self.process = None
        for pid in pids:
            wait_for(lambda pid=pid: not pid or not _alive(pid))
        return code

    def pid(self, name: str) -> int:
        """The number of a launched process; 0 where it is not there."""
        with suppress(FileNotFoundError):
            return int(json.loads((self.settings.home / "processes" / name / "process.json").read_text())["pid"])
        return 0

    def ask_ingest(self, source: str, **options: object) -> Ingest:
        table = str(self.sources / "category_names.csv")
        order = replace(
            IngestOrder(dataset="d", source=str(self.sources / source), categories=table),
            **options,  # type: ignore[arg-type]
        )
        return request_ingest(self.stores, self.settings, order, buckets=no_buckets, now=5.0)

    def ask_training(self, members: list[str] | None = None) -> Training:
        ensemble = ensemble_file.parse(ENSEMBLE, "tiny.yaml", ensemble_file.architectures())
        return request_training(self.stores, ensemble, "d", members, now=5.0)

    def ingested(self) -> str:
        row = self.stores.catalog.ingest("d")
        return row.state if row else ""

    def trained(self, training: Training) -> bool:
        row = self.stores.runs.training(training.id)
        assert row.state in ("running", "complete"), row.reason
        return row.state == "complete"

    def dataset(self) -> dict[str, bytes]:
        """All that the ingest has stored."""
        objects = self.stores.objects
        prefixes = (layout.pack_prefix("d"), layout.manifest("d"), layout.categories("d"))
        return {key: objects.read(key) for prefix in prefixes for key in objects.list(prefix)}

    def weights(self, training: Training) -> dict[str, bytes]:
        """What the runs of a training have learned."""
        names = ("weights.safetensors", "holdout/scores-00000.npy")
        read = self.stores.objects.read
        return {f"{run}/{name}": read(layout.run_file(run, name)) for run in training.runs.values() for name in names}


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
