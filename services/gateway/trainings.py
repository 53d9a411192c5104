"""Trainings: an ensemble file and a dataset, followed by the launcher."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from services.gateway.authentication import allowed
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from services.gateway.runs import RunProgress, progress_of
from shared import training_requests
from shared.domain.errors import NotFoundError
from shared.domain.records import Training
from shared.ensemble_file import architectures, parse
from shared.ports import Stores

TrainingId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$")]
FILE_EXAMPLE = "name: small\nsplits: {A: {seed: 1, holdout: 0.1}}\nmembers: {one: {model: resnet18, epochs: 8}}\n"


class TrainingRequest(Model):
    """What to train."""

    file: str = Field(max_length=2**20, description="The text of an ensemble file (YAML)", examples=[FILE_EXAMPLE])
    dataset: str = Field(max_length=100, examples=["train"])
    members: list[str] | None = Field(None, max_length=1000, description="Only these, and what they start from")
    current: bool = Field(True, description="Make the version the current one at its end")


class TrainingRun(Model):
    """One member's run."""

    run: str
    state: str
    reason: str = Field(description="Why its process waits, or how it ended; empty where that needs no words")
    progress: RunProgress | None


class TrainingView(Model):
    """A training. States: running, complete, failed, cancelled."""

    id: str
    ensemble: str
    dataset: str
    state: str
    reason: str = Field(description="Why it failed; empty while it did not")
    bad_input: bool = Field(description="It failed for what was asked, or what its dataset holds: mend that first")
    version: str = Field(description="Of the ensemble, once it is complete")
    runs: dict[str, TrainingRun] = Field(description="By member")
    created: float


class TrainingList(Model):
    """All trainings, newest first."""

    trainings: list[TrainingView]


def router(context: Context) -> APIRouter:
    """Routes under /v1/trainings."""
    routes = APIRouter(prefix="/v1/trainings", tags=["trainings"])
    reads, submits = Depends(allowed(context, "read")), Depends(allowed(context, "submit"))
    stores = context.stores

    @routes.post(
        "",
        status_code=HTTPStatus.ACCEPTED,
        dependencies=[submits],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def train(request: TrainingRequest) -> TrainingView:
        """Train an ensemble. What is complete already is not trained again; the same request is the same training."""
        ensemble = parse(request.file, "file", architectures())
        row = training_requests.request(
            stores, ensemble, request.dataset, request.members, now=context.now(), move_current=request.current
        )
        return _view(stores, row)

    @routes.get("", dependencies=[reads], responses=answers())
    def list_trainings() -> TrainingList:
        """All trainings."""
        return TrainingList(trainings=[_view(stores, row) for row in reversed(stores.runs.trainings())])

    @routes.get("/{training}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_training(training: TrainingId) -> TrainingView:
        """A training, its runs and how far they are."""
        return _view(stores, stores.runs.training(training))

    @routes.post(
        "/{training}/cancel",
        dependencies=[submits],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def cancel(training: TrainingId) -> TrainingView:
        """Stop a training; complete runs stay."""
        return _view(stores, training_requests.cancel(stores, training))

    @routes.post(
        "/{training}/retry",
        dependencies=[submits],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def retry(training: TrainingId) -> TrainingView:
        """Try what failed or was cancelled again."""
        return _view(stores, training_requests.retry(stores, training))

    return routes


def _view(stores: Stores, row: Training) -> TrainingView:
    fields = ("id", "ensemble", "dataset", "state", "reason", "bad_input", "version", "created")
    return TrainingView(
        **{name: getattr(row, name) for name in fields},
        runs={member: _run(stores, run) for member, run in row.runs.items()},
    )


def _run(stores: Stores, name: str) -> TrainingRun:
    try:
        row = stores.runs.run(name)
    except NotFoundError:
        return TrainingRun(run=name, state="removed", reason="", progress=None)
    progress = progress_of(stores.objects, row) if row.state == "running" else None
    return TrainingRun(run=name, state=row.state, reason=row.reason, progress=progress)
