"""The verbs at a gateway. What they begin goes on there, whatever happens here."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from services.cli.client import Client
from services.cli.downloads import download
from services.cli.files import whole
from services.cli.following import follow
from services.cli.place import Facts
from services.cli.show import remark
from shared.domain import states
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Dataset
from shared.job_progress import Progress
from shared.job_requests import JobRequest

_MOST_JOBS = 1000  # that the gateway lists
_STILL = "the server's workers may be away, or busy with other jobs"


class There:
    """The place that is behind a gateway."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def datasets(self) -> list[Dataset]:
        """See `Place`."""
        return [Dataset.from_plain(one) for one in self._client.get("datasets")["datasets"]]

    def score(self, request: JobRequest) -> Facts:
        """See `Place`. The gateway finds a job of equal arguments, so that the order may be sent twice."""
        order = {name: value for name, value in asdict(request).items() if name not in ("tenant", "idempotency_key")}
        job = self._client.post("jobs", **order, reuse=True)
        if job["state"] not in states.UNFINISHED:
            remark(f"job {job['id']} has scored this already: {job['state']}")
        else:
            self._follow(f"score {request.dataset}", job["id"])
        return self.job(job["id"])

    def jobs(self) -> list[Facts]:
        """See `Place`."""
        found = self._client.get("jobs", limit=_MOST_JOBS)["jobs"]
        if len(found) == _MOST_JOBS:
            remark(f"these are the newest {_MOST_JOBS:,} jobs; name an older one to see it")
        return [_facts(one) for one in found]

    def job(self, job: str) -> Facts:
        """See `Place`."""
        return _facts(self._client.get("jobs", job))

    def errors(self, job: str, most: int) -> list[tuple[int, str]]:
        """See `Place`."""

        def ask() -> list[tuple[int, str]]:
            with self._client.stream("jobs", job, "predictions", "errors") as pieces:
                return [(one["_id"], one["error"]) for one in map(json.loads, islice(_lines(pieces), most))]

        return self._client.patiently(ask)

    def watch(self, job: str) -> None:
        """See `Place`."""
        self._follow(f"job {job}", job)

    def cancel(self, job: str) -> str:
        """See `Place`."""
        return str(self._client.post("jobs", job, "cancel")["state"])

    def export(self, job: str, output: Path, form: str, combination: str | None, fill: int | None) -> int:
        """See `Place`."""
        rows = int(self._client.get("jobs", job)["products"])
        with whole(output) as file:
            download(self._client, job, rows, form, {"combination": combination, "fill": fill}, file)
        return rows

    def predict(self, ensemble: str, pictures: Sequence[bytes]) -> Facts:
        """See `Place`."""
        answer: Facts = self._client.post_form("predictions", fields={"ensemble": ensemble}, images=pictures)
        return answer

    def keys(self) -> list[Facts]:
        """See `Place`."""
        return list(self._client.get("keys")["keys"])

    def add_key(self, name: str, tenant: str, scopes: Sequence[str]) -> Facts:
        """See `Place`. Sent once: a lost answer would leave a key whose secret nobody knows."""
        order = {"name": name, "tenant": tenant, "scopes": list(scopes)}
        made: Facts = self._client.post("keys", repeat=False, **order)
        return made

    def revoke_key(self, key: str) -> None:
        """See `Place`."""
        self._client.delete("keys", key)

    def _follow(self, title: str, job: str) -> None:
        with _left_running(f"job {job}", f"`shelver jobs {job} --watch` follows it, `shelver cancel {job}` stops it"):
            follow(title, lambda: _progress(self._client.get("jobs", job)), _STILL)


@contextmanager
def _left_running(what: str, how: str) -> Iterator[None]:
    """Say what goes on at the server and how to go on with it, where this process leaves."""
    try:
        yield
    except (KeyboardInterrupt, StoreUnavailableError):
        remark(f"{what} goes on at the server: {how}")
        raise


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole_lines, rest = (rest + piece).split(b"\n")
        yield from whole_lines


def _progress(job: dict[str, Any]) -> Progress:
    names = ("state", "products", "done", "failed", "decided", "copied", "chunks", "rate", "seconds_left", "halvings")
    return Progress(job=job["id"], message=job["message"], **{name: job[name] for name in names})


def _facts(job: dict[str, Any]) -> Facts:
    names = ("products", "done", "failed", "decided", "since", "copied", "chunks", "precision", "batch_images")
    return {
        "job": job["id"],
        "state": job["state"],
        "dataset": job["dataset"],
        "ensemble": f"{job['ensemble']}@{job['version']}",
        **{name: job[name] for name in (*names, "halvings", "error")},
    }
