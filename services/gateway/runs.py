"""Runs: one training of one member."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field

from services.gateway.authentication import allowed
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from shared import layout, removal, run_log
from shared.domain.errors import NotFoundError
from shared.domain.records import Run
from shared.ports import Objects

_NDJSON = "application/x-ndjson"
_LOG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The lines", "content": {_NDJSON: {"schema": {"type": "string"}}}}
}
RunId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$")]


class RunProgress(Model):
    """How far a run is."""

    stage: str = Field(description="starting, features, training or holdout")
    step: int
    steps: int = Field(description="0 while unknown")
    epoch: int
    epochs: int
    images_per_second: float
    seconds_left: float | None


class RunView(Model):
    """A run. States: waiting, pending, running, complete, failed, cancelled."""

    id: str
    member: str
    dataset: str
    definition: dict[str, Any] = Field(description="All that decides its weights: what its id is the digest of")
    parent: str
    state: str
    generation: int = Field(description="Rises with every stored change")
    attempt: int
    reason: str = Field(description="Why its process waits, or how it ended; empty where that needs no words")
    created: float
    ended: float
    progress: RunProgress | None
    metrics: dict[str, Any] | None = Field(description="Figures of a complete run")
    card: dict[str, Any] | None = Field(description="Size, speed and accuracy per precision, of a complete run")


class RunSummary(Model):
    """A run in a line."""

    run: str
    member: str
    network: str
    dataset: str
    state: str
    epochs_done: int
    epochs: int
    holdout: dict[str, Any] | None = Field(description="Accuracy on held-out products, with n and interval")
    images_per_second: float | None
    created: float


class RunList(Model):
    """All runs, oldest first."""

    runs: list[RunSummary]


def router(context: Context) -> APIRouter:
    """Routes under /v1/runs."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"])
    stores = context.stores

    reads = Depends(allowed(context, "read"))

    @routes.get("", dependencies=[reads], responses=answers())
    def list_runs() -> RunList:
        """All runs, each in a line."""
        return RunList(runs=[RunSummary(**run_log.summary(stores.objects, row)) for row in stores.runs.runs()])

    @routes.get(
        "/{run}/log", dependencies=[reads], response_class=Response, responses=answers(HTTPStatus.NOT_FOUND) | _LOG
    )
    def log(run: RunId) -> Response:
        """What a run has logged by now, as NDJSON: a line per some steps, one per epoch, one where it stopped early."""
        stores.runs.run(run)
        return Response(run_log.text(stores.objects, run), media_type=_NDJSON)

    @routes.get("/{run}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_run(run: RunId) -> RunView:
        """A run, how far it is, and its figures."""
        row = stores.runs.run(run)
        fields = ("id", "member", "dataset", "definition", "parent", "state", "generation", "attempt", "reason")
        return RunView(
            **{name: getattr(row, name) for name in (*fields, "created", "ended")},
            progress=progress_of(stores.objects, row) if row.state == "running" else None,
            metrics=_document(stores.objects, run, "metrics.json"),
            card=_document(stores.objects, run, "card.json"),
        )

    @routes.delete(
        "/{run}",
        status_code=HTTPStatus.NO_CONTENT,
        dependencies=[Depends(allowed(context, "admin"))],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def remove(run: RunId) -> Response:
        """Remove a run that nothing uses."""
        removal.remove_run(stores.objects, stores.runs, run)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return routes


def progress_of(objects: Objects, row: Run) -> RunProgress | None:
    """What the run's process said last; None before it said anything."""
    told = _document(objects, row.id, "progress.json")
    if told is None:
        return None
    return RunProgress(
        stage=told.get("stage", "starting"),
        step=told.get("step", 0),
        steps=told.get("steps", 0),
        epoch=told.get("epoch", 0),
        epochs=row.definition["member"]["epochs"],
        images_per_second=told.get("images_per_second", 0.0),
        seconds_left=told.get("seconds_left"),
    )


def _document(objects: Objects, run: str, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(objects.read(layout.run_file(run, name)))
    except NotFoundError:
        return None
    return found
