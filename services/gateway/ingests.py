"""Ingests: a dump read into a dataset by processes of the launcher."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from services.gateway.authentication import allowed
from services.gateway.context import Context
from services.gateway.datasets import DatasetName
from services.gateway.models import Model
from services.gateway.problems import answers
from shared import ingest_progress, ingest_requests
from shared.domain.errors import NotFoundError
from shared.domain.records import Ingest
from shared.ingest_requests import IngestOrder
from shared.ports import Objects

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["train"])]


class IngestRequest(Model):
    """What to read. Source and category table lie under the prefixes that the installation allows."""

    dataset: Name
    source: str = Field(max_length=1000, description="An absolute path or s3://BUCKET/KEY", examples=["s3://in/a.bson"])
    categories: str = Field("", max_length=1000, description="The category table (CSV), likewise")
    processes: int | None = Field(None, ge=1, le=1000, description="How many share the dump")
    allow_bad: int = Field(0, ge=0, le=10**9, description="Leave out and record up to so many bad documents")


class IngestProgressView(Model):
    """How far an ingest is."""

    bytes_done: int
    bytes_total: int | None
    documents: int
    bad: int
    rate: float = Field(description="Bytes per second")
    seconds_left: float | None


class IngestView(Model):
    """An ingest. States: running, complete, failed."""

    dataset: str
    source: str
    processes: int
    allow_bad: int
    state: str
    error: str
    bad_input: bool = Field(description="It failed for what the source or the category table holds: mend that first")
    created: float
    progress: IngestProgressView | None


class IngestList(Model):
    """All ingests by dataset."""

    ingests: list[IngestView]


def router(context: Context) -> APIRouter:
    """Routes under /v1/ingests. An ingest is known by its dataset."""
    routes = APIRouter(prefix="/v1/ingests", tags=["ingests"])
    reads, stores = Depends(allowed(context, "read")), context.stores

    @routes.post(
        "",
        status_code=HTTPStatus.ACCEPTED,
        dependencies=[Depends(allowed(context, "submit"))],
        responses=answers(HTTPStatus.CONFLICT),
    )
    def ingest(request: IngestRequest) -> IngestView:
        """Read a dump into a dataset. The same request again goes on with it; another one for the dataset is 409."""
        order = IngestOrder(**request.model_dump())
        row = ingest_requests.request(stores, context.settings, order, buckets=context.buckets, now=context.now())
        return _view(stores.objects, row)

    @routes.get("", dependencies=[reads], responses=answers())
    def list_ingests() -> IngestList:
        """All ingests."""
        return IngestList(ingests=[_view(stores.objects, row) for row in stores.catalog.ingests()])

    @routes.get("/{dataset}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_ingest(dataset: DatasetName) -> IngestView:
        """An ingest and how far it is."""
        row = stores.catalog.ingest(dataset)
        if row is None:
            raise NotFoundError(f"there is no ingest of '{dataset}'")
        return _view(stores.objects, row)

    return routes


def _view(objects: Objects, row: Ingest) -> IngestView:
    told = ingest_progress.read(objects, row.dataset, row.processes) if row.state == "running" else None
    progress = None
    if told is not None:
        progress = IngestProgressView(**{name: getattr(told, name) for name in IngestProgressView.model_fields})
    fields = ("dataset", "source", "processes", "allow_bad", "state", "error", "bad_input", "created")
    return IngestView(**{name: getattr(row, name) for name in fields}, progress=progress)
