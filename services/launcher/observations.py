"""What the launcher exports about runs and ingests: from their rows, and from what their processes say."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from shared import ingest_progress, layout
from shared.domain.errors import NotFoundError
from shared.domain.records import Run
from shared.ports import Stores
from shared.telemetry import TrainingMetrics

_RUN_STATES = ("waiting", "pending", "running", "complete", "failed", "cancelled")
_INGEST_STATES = ("running", "complete", "failed")


@dataclass(frozen=True, slots=True)
class Observations:
    """Fills the metrics anew with every look."""

    stores: Stores
    metrics: TrainingMetrics
    _accuracies: dict[str, float] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        """Read rows and progress. Raises StoreUnavailableError."""
        runs = self.stores.runs.runs()
        states = Counter(run.state for run in runs)
        for state in _RUN_STATES:
            self.metrics.runs.labels(state).set(states[state])
        latest = {training.ensemble: training for training in self.stores.runs.trainings()}
        told_of = {run for training in latest.values() for run in training.runs.values()}
        for gauge in (self.metrics.epoch, self.metrics.loss, self.metrics.accuracy, self.metrics.speed):
            gauge.clear()
        for run in runs:
            if run.state == "running":
                self._running(run)
            elif run.state == "complete":
                self._complete(run, judged=run.id in told_of)
        self.metrics.stored.labels("weights").set(sum(self._weights[run.id] for run in runs if run.id in self._weights))
        self._datasets()

    def _running(self, run: Run) -> None:
        told = self._json(run, "progress.json")
        if "epoch" in told:
            self.metrics.epoch.labels(run.member, run.id).set(told["epoch"] - 1)  # it counts the one that goes on
            self.metrics.speed.labels(run.member, run.id).set(told["images_per_second"])
        try:
            lines = self.stores.objects.read(layout.run_file(run.id, "log.jsonl")).splitlines()
        except NotFoundError:
            return
        for line in map(json.loads, reversed(lines)):
            if line["kind"] == "epoch":
                self.metrics.loss.labels(run.member, run.id).set(line["loss"])
                return

    def _complete(self, run: Run, *, judged: bool) -> None:
        if run.id not in self._weights:
            try:
                self._weights[run.id] = self.stores.objects.size(layout.run_file(run.id, "weights.safetensors"))
            except NotFoundError:  # removed while we look
                return
        if not judged:
            return
        if run.id not in self._accuracies:
            images = self._json(run, "metrics.json").get("holdout", {}).get("images")
            if images is None:  # imported, and judged on nothing
                return
            self._accuracies[run.id] = images["accuracy"]
        self.metrics.accuracy.labels(run.member, run.id).set(self._accuracies[run.id])

    def _datasets(self) -> None:
        catalog = self.stores.catalog
        for gauge in (self.metrics.bytes, self.metrics.documents, self.metrics.bad):
            gauge.clear()
        ingests = catalog.ingests()
        states = Counter(ingest.state for ingest in ingests)
        for state in _INGEST_STATES:
            self.metrics.ingests.labels(state).set(states[state])
        datasets = catalog.datasets()
        for dataset in datasets:
            self.metrics.bytes.labels(dataset.name).set(dataset.bytes)
            self.metrics.documents.labels(dataset.name).set(dataset.products)
            self.metrics.bad.labels(dataset.name).set(dataset.bad)
        self.metrics.stored.labels("packs").set(sum(dataset.bytes for dataset in datasets))
        for ingest in (ingest for ingest in ingests if ingest.state == "running"):
            told = ingest_progress.read(self.stores.objects, ingest.dataset, ingest.processes)
            if told is not None:
                self.metrics.bytes.labels(ingest.dataset).set(told.bytes_done)
                self.metrics.documents.labels(ingest.dataset).set(told.documents)
                self.metrics.bad.labels(ingest.dataset).set(told.bad)

    def _json(self, run: Run, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.stores.objects.read(layout.run_file(run.id, name)))
        except NotFoundError:
            return {}
        return found
