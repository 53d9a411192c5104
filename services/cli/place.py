"""Where verbs work: in the home of this machine (`here`), or at a gateway (`there`). Either gives the same answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from shared.domain.ensemble import Ensemble
from shared.domain.records import Dataset, EnsembleVersion, Run
from shared.ingest_requests import IngestOrder
from shared.job_requests import JobRequest
from shared.packs import Manifest
from shared.run_log import Line, RunLog

Facts = dict[str, Any]
"""JSON values."""


class Place(Protocol):
    """What verbs ask for. Raises ShelverError: BadInputError, NotFoundError and ConflictError for what is refused."""

    def ingest(self, order: IngestOrder) -> Manifest:
        """Read a source into a dataset, or go on with it, to its end."""

    def datasets(self) -> list[Dataset]:
        """All datasets by name."""

    def train(self, ensemble: Ensemble, dataset: str, members: Sequence[str] | None) -> Facts:
        """Train members, all by default, to their end: name and version (None while others are untrained) of the
        ensemble, its runs and their holdout figures, both by member."""

    def runs(self) -> list[Line]:
        """All runs, oldest first, each as `run_log.summary` has it."""

    def run(self, name: str) -> tuple[Run, RunLog]:
        """A run by its id, the start of one, or the newest training's member of that name, and what it logged."""

    def versions(self) -> list[Facts]:
        """All ensemble versions, oldest first, each as `ensemble_versions.summary` has it."""

    def version(self, name: str) -> tuple[EnsembleVersion, bool]:
        """NAME's current version or NAME@VERSION, and whether it is the current one."""

    def import_version(
        self, ensemble: Ensemble, dataset: str, weights: Mapping[str, str], *, current: bool
    ) -> EnsembleVersion:
        """Make a version from weights that were trained elsewhere: member -> safetensors file."""

    def score(self, request: JobRequest) -> Facts:
        """Make a job, or go on with one of equal arguments, and follow it to its end; the facts of the job."""

    def jobs(self) -> list[Facts]:
        """The facts of all jobs, newest first."""

    def job(self, job: str) -> Facts:
        """The facts of a job: how far it is and what it runs with."""

    def errors(self, job: str, most: int) -> list[tuple[int, str]]:
        """Products that got an error instead of a prediction, the first ones in dump order, with the error."""

    def watch(self, job: str) -> None:
        """Follow a job until it has ended."""

    def cancel(self, job: str) -> str:
        """Stop a job; its state then."""

    def cancel_training(self, training: str) -> str:
        """Stop a training and those of its runs that no other one wants; its state then."""

    def remove(self, kind: str, name: str) -> None:
        """Remove a dataset, run, job, ensemble version or training that nothing uses."""

    def export(self, job: str, output: Path, form: str, combination: str | None, fill: int | None) -> int:
        """Write the answers of a job to a file, which appears whole or not at all; the number of rows."""

    def predict(self, ensemble: str, pictures: Sequence[bytes]) -> Facts:
        """Categorise one product now: an answer as /v1/predictions gives it."""

    def keys(self) -> list[Facts]:
        """All API keys without their secrets, oldest first, revoked ones too."""

    def add_key(self, name: str, tenant: str, scopes: Sequence[str]) -> Facts:
        """Make an API key; with its secret, which is not kept."""

    def revoke_key(self, key: str) -> None:
        """Revoke an API key, once and for all."""
