"""What was begun at a gateway, followed to its end. It goes on there, whatever happens here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.cli.client import Client
from services.cli.following import follow_job, report_ingest, training_reporter
from services.cli.show import progress, remark
from shared.domain.ensemble import Ensemble
from shared.domain.errors import BadInputError, FailedError, StoreUnavailableError
from shared.ingest_progress import IngestProgress
from shared.job_progress import Progress
from shared.training_progress import progress_among, running_member

_LOOK_SECONDS = 1.0
_STILL = "the server's workers may be away, or busy with other jobs"

View = dict[str, Any]
"""An answer of the API."""


def await_job(client: Client, title: str, job: str) -> None:
    """Follow a job until it has ended, however it does."""
    with _left_running(f"job {job}", f"`shelver jobs {job} --watch` follows it, `shelver cancel {job}` stops it"):
        follow_job(title, lambda: _progress(client.get("jobs", job)), _STILL)


def await_ingest(client: Client, ingest: View) -> None:
    """Follow an ingest until its dataset is there. Raises BadInputError or FailedError with what ended it otherwise."""
    dataset = ingest["dataset"]
    what = f"the ingest of dataset {dataset}"
    with _left_running(what, "the same `shelver ingest` follows it"), progress(f"ingest {dataset}") as update:
        while ingest["state"] == "running":
            if ingest["progress"] is not None:
                report_ingest(update, IngestProgress(**ingest["progress"]))
            time.sleep(_LOOK_SECONDS)
            ingest = client.get("ingests", dataset)
    if ingest.get("bad_input"):  # a gateway of before does not tell
        raise BadInputError(what, ingest["error"])
    if ingest["state"] != "complete":
        raise FailedError(f"{what} is {ingest['state']}: {ingest['error']}")


def await_training(client: Client, ensemble: Ensemble, training: View) -> View:
    """Follow a training of members of the ensemble until it is complete. Raises BadInputError or FailedError with what
    ended it otherwise."""
    epochs = {name: member.epochs for name, member in ensemble.members.items()}
    skipped = tuple(member for member, run in training["runs"].items() if run["state"] == "complete")
    what = f"training {training['id']}"
    how = f"the same `shelver train` follows it, `shelver cancel {training['id']}` stops it"
    with (
        _left_running(what, how),
        progress(f"train {ensemble.name}") as update,
    ):
        report = training_reporter(update)
        while training["state"] == "running":
            states = {member: run["state"] for member, run in training["runs"].items()}
            running = running_member(states)
            told = training["runs"][running]["progress"] if running else None
            report(progress_among(states, epochs, told or {}, skipped))
            time.sleep(_LOOK_SECONDS)
            training = client.get("trainings", training["id"])
    if training.get("bad_input"):  # a gateway of before does not tell
        raise BadInputError(what, training["reason"])
    if training["state"] != "complete":
        why = f": {training['reason']}" if training["reason"] else ""
        raise FailedError(f"{what} is {training['state']}{why}; the same `shelver train` tries it again")
    return training


@contextmanager
def _left_running(what: str, how: str) -> Iterator[None]:
    """Say what goes on at the server and how to go on with it, where this process leaves."""
    try:
        yield
    except (KeyboardInterrupt, StoreUnavailableError):
        remark(f"{what} goes on at the server: {how}")
        raise


def _progress(job: View) -> Progress:
    names = ("state", "products", "done", "failed", "decided", "copied", "through", "chunks", "rate", "seconds_left")
    told: View = {"through": 0, **job}  # a gateway of before does not tell
    return Progress(job=job["id"], **{name: told[name] for name in (*names, "halvings", "message")})
