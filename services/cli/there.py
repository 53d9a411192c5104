"""The verbs at a gateway. What they begin goes on there, whatever happens here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from services.cli.awaiting import await_ingest, await_job, await_training
from services.cli.client import Client
from services.cli.downloads import download
from services.cli.files import whole
from services.cli.place import Facts
from services.cli.run_names import find
from services.cli.show import remark
from shared import run_log
from shared.domain import states
from shared.domain.ensemble import Ensemble
from shared.domain.errors import BadInputError
from shared.domain.records import Dataset, EnsembleVersion, Run
from shared.dumps import S3
from shared.ensemble_file import render
from shared.ingest_requests import IngestOrder
from shared.job_requests import JobRequest
from shared.packs import Manifest, manifest_of
from shared.run_log import Line, RunLog

_MOST_JOBS = 1000  # that the gateway lists


class There:
    """The place that is behind a gateway."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ingest(self, order: IngestOrder) -> Manifest:
        """See `Place`. The server reads the source: a file there, or an object."""
        if order.source == "-":
            raise BadInputError("-", "a server reads no standard input", remedy="name a file or object it can read")
        places = {"source": _absolute(order.source), "categories": order.categories and _absolute(order.categories)}
        ingest = self._client.post("ingests", body={**asdict(order), **places})
        if ingest["state"] == "complete":
            remark(f"dataset {order.dataset} is complete already: skipped")
        else:
            await_ingest(self._client, ingest)
        return manifest_of(self._client.get("datasets", order.dataset, "manifest"))

    def datasets(self) -> list[Dataset]:
        """See `Place`."""
        return [Dataset.from_plain(one) for one in self._client.get("datasets")["datasets"]]

    def train(self, ensemble: Ensemble, dataset: str, members: Sequence[str] | None) -> Facts:
        """See `Place`."""
        order = {"file": render(ensemble), "dataset": dataset, "members": members}
        training = await_training(self._client, ensemble, self._client.post("trainings", body=order))
        if not training["version"]:
            return {"ensemble": ensemble.name, "version": None, "runs": {}, "holdout": {}}
        version, _ = self.version(f"{ensemble.name}@{training['version']}")
        return {
            "ensemble": version.name,
            "version": version.version,
            "runs": dict(version.runs),
            "holdout": {
                member: self._client.get("runs", run)["metrics"]["holdout"] for member, run in version.runs.items()
            },
        }

    def runs(self) -> list[Line]:
        """See `Place`."""
        return list(self._client.get("runs")["runs"])

    def run(self, name: str) -> tuple[Run, RunLog]:
        """See `Place`."""
        trainings = (
            {member: run["run"] for member, run in one["runs"].items()}
            for one in self._client.get("trainings")["trainings"]
        )
        run = find({one["run"] for one in self.runs()}, trainings, name)
        row = self._client.get("runs", run)
        lines = run_log.lines_of(self._client.text("runs", run, "log"), run)
        return Run.from_plain(row), RunLog(lines, row["metrics"] or {}, row["card"] or {}, row["progress"] or {})

    def versions(self) -> list[Facts]:
        """See `Place`."""
        found = self._client.get("ensembles")["ensembles"]
        return [{**one, "fitted": one.get("fitted", [])} for one in found]  # a gateway of before does not tell

    def version(self, name: str) -> tuple[EnsembleVersion, bool]:
        """See `Place`."""
        return _version(self._client.get("ensembles", *name.split("@", 1)))

    def import_version(
        self, ensemble: Ensemble, dataset: str, weights: Mapping[str, str], *, current: bool
    ) -> EnsembleVersion:
        """See `Place`. The server reads the weights: files there, or objects."""
        files = {member: _absolute(file) for member, file in weights.items()}
        order = {"file": render(ensemble), "dataset": dataset, "weights": files, "current": current}
        return _version(self._client.post("ensembles", body=order))[0]

    def score(self, request: JobRequest) -> Facts:
        """See `Place`. The gateway finds a job of equal arguments, so that the order may be sent twice."""
        order = {name: value for name, value in asdict(request).items() if name not in ("tenant", "idempotency_key")}
        job = self._client.post("jobs", body={**order, "reuse": True})
        if job["state"] not in states.UNFINISHED:
            remark(f"job {job['id']} has scored this already: {job['state']}")
        else:
            await_job(self._client, f"score {request.dataset}", job["id"])
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
        await_job(self._client, f"job {job}", job)

    def cancel(self, job: str) -> str:
        """See `Place`."""
        return str(self._client.post("jobs", job, "cancel")["state"])

    def cancel_training(self, training: str) -> str:
        """See `Place`."""
        return str(self._client.post("trainings", training, "cancel")["state"])

    def remove(self, kind: str, name: str) -> None:
        """See `Place`. What is but a row stays there."""
        if kind in ("ensemble", "training"):
            stop = f"`shelver cancel {name}` stops it; " if kind == "training" else ""
            reason = "a server removes datasets, runs and jobs only"
            raise BadInputError(f"{kind} {name}", reason, remedy=f"{stop}its row is removed beside the stores")
        self._client.delete(f"{kind}s", name)

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
        made: Facts = self._client.post("keys", body=order, repeat=False)
        return made

    def revoke_key(self, key: str) -> None:
        """See `Place`."""
        self._client.delete("keys", key)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole_lines, rest = (rest + piece).split(b"\n")
        yield from whole_lines


def _facts(job: Facts) -> Facts:
    names = (
        "products",
        "done",
        "failed",
        "decided",
        "since",
        "copied",
        "through",
        "chunks",
        "precision",
        "batch_images",
    )
    job = {"through": 0, **job}  # a gateway of before does not tell
    return {
        "job": job["id"],
        "state": job["state"],
        "dataset": job["dataset"],
        "ensemble": f"{job['ensemble']}@{job['version']}",
        **{name: job[name] for name in (*names, "halvings", "error")},
    }


def _version(view: Facts) -> tuple[EnsembleVersion, bool]:
    return EnsembleVersion.from_plain(view), view["current"]


def _absolute(name: str) -> str:
    """As a server takes it, whose working folder is another one."""
    return name if name.startswith(S3) else str(Path(name).absolute())
