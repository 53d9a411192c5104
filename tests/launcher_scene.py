"""The launcher over embedded stores and processes that are what a test says."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.launcher import Service
from shared import ensemble_file, layout, training_requests, wiring
from shared.domain.errors import BadInputError, StoreUnavailableError
from shared.domain.records import Ingest, Run, Training
from shared.leadership import vacate
from shared.packs import Manifest
from shared.ports import Launched
from shared.settings import LauncherSettings, Settings

FILE = """
name: {name}
splits: {{A: {{seed: 7, holdout: 0.2}}}}
defaults: {{input: {{size: 32}}, batch_size: 16, epochs: 4, model: test_resnet}}
members:
  first: {{}}
  child: {{init: {{member: first}}}}
  {more}: {{}}
"""


class Processes:
    """The Launcher port over processes that are what the test says."""

    def __init__(self) -> None:
        self.there: dict[str, Launched] = {}
        self.launches: list[tuple[str, list[str]]] = []
        self.away = False
        self.refusal = ""

    def check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the launcher is away")

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        if self.refusal:
            raise BadInputError("training.yaml", self.refusal)
        if name not in self.there:
            self.launches.append((name, list(arguments)))
            self.there[name] = Launched(name, "running")

    def status(self) -> dict[str, Launched]:
        if self.away:
            raise StoreUnavailableError("the launcher is away")
        return dict(self.there)

    def delete(self, name: str) -> None:
        self.there.pop(name, None)

    def end(self, name: str, state: str, code: int | None = None, tail: str = "", reason: str = "") -> None:
        self.there[name] = Launched(name, state, code, tail, reason)

    def running(self, kind: str = "") -> list[str]:
        return sorted(name for name, one in self.there.items() if one.state == "running" and name.startswith(kind))


class House:
    """A service over embedded stores, with a dataset to train on."""

    def __init__(self, home: Path, make_dataset: Callable[..., Manifest]) -> None:
        self.settings = Settings(home=home, launcher=LauncherSettings(poll_seconds=0.0))
        self.stores = wiring.stores(self.settings)
        make_dataset(self.stores.objects)
        self.processes = Processes()
        self.registry = CollectorRegistry()
        self.time = 0.0
        self.service = self.restarted()

    def restarted(self, **launcher: int) -> Service:
        """The one before has handed over."""
        vacate(self.stores.leases, "launcher")
        self.registry = CollectorRegistry()
        self.service = self.replica(self.registry, **launcher)
        return self.service

    def replica(self, registry: CollectorRegistry, **launcher: int) -> Service:
        settings = replace(self.settings, launcher=replace(self.settings.launcher, **launcher))  # type: ignore[arg-type]
        return Service(self.stores, self.processes, settings, registry, clock=lambda: self.time, now=lambda: 5.0)

    def ask(self, name: str = "tiny", more: str = "alone", **options: bool) -> Training:
        ensemble = ensemble_file.parse(FILE.format(name=name, more=more), "f.yaml", ensemble_file.architectures())
        return training_requests.request(self.stores, ensemble, "tiny", now=1.0, **options)

    def ingest(self, processes: int = 2, **changes: object) -> Ingest:
        row = Ingest(
            dataset="d",
            source="s",
            source_identity="",
            processes=processes,
            pack_bytes=1,
            allow_bad=0,
            categories="",
            requested=True,
        )
        return self.stores.catalog.begin_ingest(replace(row, **changes))  # type: ignore[arg-type]

    def ingest_row(self) -> Ingest:
        row = self.stores.catalog.ingest("d")
        assert row is not None
        return row

    def complete(self, name: str) -> None:
        """The trainer of that name ends well."""
        run = name.removeprefix("train-").rpartition("-")[0]
        objects = self.stores.objects
        for file in ("manifest.json", "weights.safetensors"):
            objects.put(layout.run_file(run, file), b"{}")
        metrics = {"holdout": {"images": {"accuracy": 0.75}}}
        objects.put(layout.run_file(run, "metrics.json"), json.dumps(metrics).encode())
        self.processes.end(name, "succeeded", 0)

    def run_of(self, training: Training, member: str) -> Run:
        return self.stores.runs.run(training.runs[member])

    def state(self, training: Training) -> str:
        return self.stores.runs.training(training.id).state

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"shelver_{name}", labels)
