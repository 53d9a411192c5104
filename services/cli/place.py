"""Where verbs work: in the home of this machine (`here`), or at a gateway (`there`). Either gives the same answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from shared.domain.records import Dataset
from shared.job_requests import JobRequest

Facts = dict[str, Any]
"""JSON values."""


class Place(Protocol):
    """What verbs ask for. Raises ShelverError: BadInputError, NotFoundError and ConflictError for what is refused."""

    def datasets(self) -> list[Dataset]:
        """All datasets by name."""

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
