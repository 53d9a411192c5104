"""What a job found, as a stream that can be taken up again, or as one Parquet file."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from services.gateway.authentication import Caller, allowed
from services.gateway.context import Context
from services.gateway.jobs import JobId, ended, own
from services.gateway.models import Model
from services.gateway.problems import RefusedError, answers
from shared import exports, layout
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.records import EnsembleVersion, Job
from shared.domain.submission import Answer
from shared.domain.taxonomy import Taxonomy
from shared.packs import read_manifest, read_product_ids, read_taxonomy

_LINES = 500  # of one piece of a stream
_BLOCK = 2**20
_MEDIA = {"csv": "text/csv", "ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
Format = Literal["ndjson", "csv", "parquet"]
_FORMATS = "csv: a submission; where the combination has a fit, also decision and decision_path"
_TEXT = {"schema": {"type": "string"}}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Rows in dump order. A stream that ends without its last piece was cut: go on with `after`.",
        "content": dict.fromkeys(_MEDIA.values(), _TEXT),
    }
}


class Best(Model):
    """One category of the best ones."""

    category_id: int
    class_index: int
    path: list[str] = Field(description="Names of the three levels")
    probability: float


class Node(Model):
    """The best node of one level of the category tree."""

    level: int
    name: str
    probability: float


class PredictionView(Model):
    """One combination's answer."""

    category_id: int
    class_index: int
    path: list[str]
    probability: float
    margin: float
    entropy: float
    top: list[Best]
    nodes: list[Node] = Field(description="Of a multilabel ensemble none")
    labels: list[Best] | None = Field(None, description="Of a multilabel ensemble those answered, the surest first")
    decision: str = Field("", description="accept, level 2, level 1 or review; empty without a fit")
    decision_path: list[str] | None = Field(
        None, description="What may be used by it: the category's names, or a node's"
    )


class OutcomeView(Model):
    """Everything that a job knows of one product."""

    product: int
    source: str = Field(description="model, image duplicate or product duplicate")
    overridden: float = Field(description="Share of the images that a duplicate decided")
    predictions: dict[str, PredictionView] = Field(description="By combination")
    model_only: dict[str, PredictionView] = Field(description="The same without duplicates, where the networks ran")
    since: str
    error: str


def router(context: Context) -> APIRouter:
    """Routes under /v1/jobs/{job}/predictions."""
    routes = APIRouter(prefix="/v1/jobs", tags=["predictions"])
    reads = allowed(context, "read")
    source = Source(context)

    @routes.get(
        "/{job}/predictions",
        response_class=StreamingResponse,
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT) | _STREAM,
    )
    def predictions(
        job: JobId,
        caller: Annotated[Caller, Depends(reads)],
        format: Annotated[Format, Query(description=_FORMATS)] = "ndjson",  # noqa: A002
        combination: Annotated[str | None, Query(max_length=100, description="The last one by default")] = None,
        fill: Annotated[int | None, Query(description="Category of products without an answer")] = None,
        partial: Annotated[bool, Query(description="Of a job that runs: what is answered by now")] = False,
        after: Annotated[int | None, Query(description="Rows after this product, the last one that arrived")] = None,
    ) -> StreamingResponse:
        """One row per product in dump order.

        A job that runs is refused without `partial`; one with unanswered products without `fill` or `partial`, which
        leaves them out. After a broken connection, ask again with `after`.
        """
        row = own(context, caller, job)
        if not partial and not ended(row):
            raise RefusedError(
                HTTPStatus.CONFLICT,
                f"job {job} is {row.state}; wait for its end, or ask for what is there: partial=true",
            )
        if format == "parquet":
            content = source.parquet(row, combination, fill, partial=partial, after=after)
        else:
            content = source.text(row, combination, fill, format, partial=partial, after=after)
        return StreamingResponse(content, media_type=_MEDIA[format])

    @routes.get("/{job}/predictions/errors", responses=answers(HTTPStatus.NOT_FOUND) | _STREAM)
    def errors(
        job: JobId,
        caller: Annotated[Caller, Depends(reads)],
        after: Annotated[int | None, Query(description="Errors after this product")] = None,
    ) -> StreamingResponse:
        """Products that got an error instead of a prediction, as NDJSON: `_id` and `error`."""
        return StreamingResponse(source.errors(own(context, caller, job), after), media_type=_MEDIA["ndjson"])

    @routes.get("/{job}/predictions/{product}", responses=answers(HTTPStatus.NOT_FOUND))
    def one_product(job: JobId, product: int, caller: Annotated[Caller, Depends(reads)]) -> OutcomeView:
        """Everything about one product."""
        return source.one(own(context, caller, job), product)

    return routes


class Source:
    """Reads a job's outcomes; whatever can be refused is refused before the first byte."""

    def __init__(self, context: Context) -> None:
        self._stores = context.stores

    def text(
        self, job: Job, combination: str | None, fill: int | None, form: str, *, partial: bool, after: int | None
    ) -> Iterator[bytes]:
        """The rows as pieces of csv or ndjson, from bounded memory."""
        taxonomy, name, version = self._judged(job, combination, fill)
        found = self._answers(job, name, fill, partial=partial, after=after)
        rows = exports.lines(found, name, taxonomy, form, version)
        return _pieces(rows, skip=1 if after is not None and form == "csv" else 0)

    def parquet(
        self, job: Job, combination: str | None, fill: int | None, *, partial: bool, after: int | None
    ) -> Iterator[bytes]:
        """The file, made once and kept with the job."""
        if partial or after is not None:
            raise BadInputError("format", "parquet is one file of the whole", remedy="leave partial and after out")
        taxonomy, name, version = self._judged(job, combination, fill)
        key = layout.job_export(job.id, f"{name}-{'refuse' if fill is None else fill}")
        objects = self._stores.objects
        if not objects.exists(key):
            found = self._answers(job, name, fill, partial=False, after=None)
            with tempfile.TemporaryFile() as file:
                exports.write(found, name, taxonomy, "parquet", file, version)
                file.seek(0)
                objects.put(key, iter(lambda: file.read(_BLOCK), b""))
        return self._blocks(key)

    def errors(self, job: Job, after: int | None) -> Iterator[bytes]:
        """Rows of the products with an error."""
        return _pieces(exports.error_lines(self._stores.jobs, job.id, self._position(job, after)))

    def one(self, job: Job, product: int) -> OutcomeView:
        """The outcome of one product. Raises NotFoundError."""
        found = self._stores.jobs.outcomes_of(job.id, [product])
        if not found:
            raise NotFoundError(f"job {job.id} has no outcome of product {product}")
        version = self._stores.runs.version(job.ensemble, job.version)
        taxonomy = read_taxonomy(self._stores.objects, version.dataset)
        return OutcomeView(product=product, since=found[0].since, **outcome_view(found[0].plain(), taxonomy))

    def _judged(self, job: Job, combination: str | None, fill: int | None) -> tuple[Taxonomy, str, EnsembleVersion]:
        version = self._stores.runs.version(job.ensemble, job.version)
        ensemble = from_plain(version.document)
        if combination is not None and combination not in ensemble.combinations:
            known = ", ".join(ensemble.combinations)
            raise BadInputError("combination", f"'{combination}' is not in the ensemble", remedy=f"it has {known}")
        taxonomy = read_taxonomy(self._stores.objects, version.dataset)
        if fill is not None and fill not in taxonomy.category_ids:
            raise BadInputError("fill", f"category {fill} is not in the category table", remedy="name one of its ids")
        return taxonomy, combination or ensemble.default_combination, version

    def _answers(
        self, job: Job, combination: str, fill: int | None, *, partial: bool, after: int | None
    ) -> Iterable[Answer]:
        """Checked to be complete, unless `partial`, before the first one is given."""
        position = self._position(job, after)
        if partial:
            return exports.present(self._stores.jobs, job.id, combination, position)
        if fill is None and (job.state != "succeeded"):
            raise RefusedError(
                HTTPStatus.CONFLICT,
                f"job {job.id} ended as '{job.state}': not every product has an answer; see its errors, give them one "
                "category with fill=ID, or leave them out with partial=true",
            )
        manifest = read_manifest(self._stores.objects, job.dataset)
        return exports.answers(self._stores.objects, self._stores.jobs, manifest, job, combination, fill, position)

    def _position(self, job: Job, after: int | None) -> int:
        """The place in dump order of the product that was the last to arrive; -1 without one."""
        if after is None:
            return -1
        if found := self._stores.jobs.outcomes_of(job.id, [after]):
            return found[0].position
        start = 0  # it was filled in
        for ids in read_product_ids(self._stores.objects, read_manifest(self._stores.objects, job.dataset)):
            if len(place := np.flatnonzero(ids == after)):
                return start + int(place[0])
            start += len(ids)
        raise BadInputError("after", f"the job has no product {after}", remedy="name the last _id that arrived")

    def _blocks(self, key: str) -> Iterator[bytes]:
        with self._stores.objects.open(key) as stream:
            yield from iter(lambda: stream.read(_BLOCK), b"")


def outcome_view(outcome: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, Any]:
    """The fields of `OutcomeView` that an answer of a worker has too."""
    return {
        "source": outcome["source"],
        "overridden": outcome["overridden"],
        "error": outcome["error"],
        **{
            kind: {name: _prediction(plain, taxonomy) for name, plain in outcome[kind].items()}
            for kind in ("predictions", "model_only")
        },
    }


def _prediction(plain: Mapping[str, Any], taxonomy: Taxonomy) -> PredictionView:
    def best(class_index: int, probability: float) -> Best:
        return Best(
            category_id=int(taxonomy.category_ids[class_index]),
            class_index=class_index,
            path=list(taxonomy.paths[class_index]),
            probability=probability,
        )

    path = taxonomy.paths[plain["class_index"]]
    decided = exports.decided(plain, path, taxonomy) if plain.get("decision") else {}
    return PredictionView(
        **{name: plain[name] for name in ("category_id", "class_index", "probability", "margin", "entropy")},
        **decided,
        path=list(path),
        top=[best(*one) for one in plain["top"]],
        labels=None if plain.get("labels") is None else [best(*one) for one in plain["labels"]],
        nodes=[
            Node(level=level + 1, name=taxonomy.nodes[level][node][-1], probability=probability)
            for level, (node, probability) in enumerate(plain["nodes"])
        ],
    )


def _pieces(lines: Iterable[bytes], skip: int = 0) -> Iterator[bytes]:
    """Lines joined, some at a time: one by one they would cost more than they hold."""
    rest = islice(lines, skip, None)
    while piece := b"".join(islice(rest, _LINES)):
        yield piece
