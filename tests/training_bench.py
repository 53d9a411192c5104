"""A tiny run, declared and trained inside the test's process."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from shared import layout
from shared.adapters.directory import DirectoryObjects
from shared.domain.definitions import run_definition, run_id
from shared.domain.ensemble import Member
from shared.domain.records import Run
from shared.packs import Manifest
from shared.settings import ScoringSettings, TrainingSettings
from tests.tiny_member import MEMBER


@dataclass
class Bench:
    """An object store with a small dataset in which runs are declared and trained."""

    objects: DirectoryObjects
    manifest: Manifest
    member: Member = MEMBER
    settings: TrainingSettings = field(default_factory=lambda: TrainingSettings(device="cpu", decode_threads=1))
    said: list[str] = field(default_factory=list)

    def declare(self, member: Member, parent: str = "") -> str:
        """Write the definition of a run, as the launcher does."""
        fingerprints = {"dataset": self.manifest.fingerprint, "taxonomy": self.manifest.taxonomy}
        definition = run_definition(member, **fingerprints, parent=parent)
        run = Run(
            id=run_id(definition),
            member=member.name,
            dataset=self.manifest.dataset,
            definition=definition,
            parent=parent,
        )
        self.objects.put(layout.run_file(run.id, "definition.json"), json.dumps(run.plain()).encode())
        return run.id

    def train(self, run: str, attempt: int = 1, preempted: Callable[[], bool] = lambda: False) -> None:
        """One attempt, in this process."""
        from workers.training import orders, process  # not above: torch would slow down every test of the pure core

        ticks = count()
        around = process.Surroundings(
            self.objects, self.settings, ScoringSettings(), lambda: float(next(ticks)), self.said.append, preempted
        )
        process.train(orders.validate(self.objects, run, self.settings), attempt, around)

    def file(self, run: str, name: str) -> bytes:
        """A file of a run."""
        return self.objects.read(layout.run_file(run, name))

    def log(self, run: str) -> list[dict[str, Any]]:
        """The lines of a run's log."""
        return [json.loads(line) for line in self.file(run, "log.jsonl").splitlines()]

    def metrics(self, run: str) -> dict[str, Any]:
        """A run's metrics."""
        found: dict[str, Any] = json.loads(self.file(run, "metrics.json"))
        return found

    def forget(self, run: str) -> None:
        """Remove what a run has come to."""
        for key in list(self.objects.list(layout.run_prefix(run))):
            if not key.endswith("definition.json"):
                self.objects.delete(key)
