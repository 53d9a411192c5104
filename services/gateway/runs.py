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
from shared import layout, removal
from shared.domain.errors import NotFoundError
from shared.domain.records import Run
from shared.ports import Objects

RunId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$")]


class RunProgress(Model):
    """How far a run is."""

    epoch: int
    epochs: int
    images_per_second: float
    seconds_left: float | None


class RunView(Model):
    """A run. States: waiting, pending, running, complete, failed, cancelled."""

    id: str
    member: str
    dataset: str
    parent: str
    state: str
    attempt: int
    reason: str
    created: float
    ended: float
    progress: RunProgress | None
    metrics: dict[str, Any] | None = Field(description="Figures of a complete run")
    card: dict[str, Any] | None = Field(description="Size, speed and accuracy per precision, of a complete run")


def router(context: Context) -> APIRouter:
    """Routes under /v1/runs."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"])
    stores = context.stores

    @routes.get("/{run}", dependencies=[Depends(allowed(context, "read"))], responses=answers(HTTPStatus.NOT_FOUND))
    def one_run(run: RunId) -> RunView:
        """A run, how far it is, and its figures."""
        row = stores.runs.run(run)
        fields = ("id", "member", "dataset", "parent", "state", "attempt", "reason", "created", "ended")
        return RunView(
            **{name: getattr(row, name) for name in fields},
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
