"""One product categorised now, from pictures in the request or from a stored product."""

import base64
import io
import uuid
import warnings
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image
from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator
from starlette.datastructures import UploadFile

from services.gateway.authentication import Caller, allowed
from services.gateway.context import Context
from services.gateway.datasets import pictures
from services.gateway.models import Model
from services.gateway.predictions import PredictionView, outcome_view
from services.gateway.problems import RefusedError, answers
from shared import layout
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError
from shared.domain.records import SCHEMA, EnsembleVersion
from shared.packs import read_taxonomy
from shared.ports import Objects, Queue

_ASKED_AT_ONCE = 16  # each holds a thread until its answer is there
_RETRY_SECONDS = 2
_FIELDS = 4  # of a form, besides pictures


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        raise ValueError("it is no base64") from None


Base64 = Annotated[bytes, BeforeValidator(_decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class AnswerRequest(Model):
    """Either images or a stored product."""

    ensemble: str = Field(max_length=200, description="NAME or NAME@VERSION", examples=["grocery-small"])
    images: list[Base64] = Field(default_factory=list, description="JPEG, PNG or WebP, in base64")
    dataset: str = Field("", max_length=100, description="Of a stored product")
    product: int | None = Field(None, description="Its id")
    pool: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="The pool of workers")

    @model_validator(mode="after")
    def _one_of_both(self) -> "AnswerRequest":
        if bool(self.images) == (self.product is not None) or bool(self.dataset) != (self.product is not None):
            raise ValueError("give images, or dataset and product")
        return self


class AnswerView(Model):
    """The answer for one product."""

    ensemble: str
    version: str
    combination: str = Field(description="The one that counts: the file's last one")
    source: str = Field(description="model, image duplicate or product duplicate")
    overridden: float
    predictions: dict[str, PredictionView] = Field(description="By combination")
    model_only: dict[str, PredictionView] = Field(description="The same without duplicates")
    seconds: float = Field(description="From the worker's taking the question to its answer")
    stages: dict[str, float] = Field(description="Of those: seconds per stage")


def router(context: Context) -> APIRouter:
    """The route /v1/predictions."""
    routes = APIRouter(prefix="/v1/predictions", tags=["predictions"])
    limiter = CapacityLimiter(_ASKED_AT_ONCE)
    form = {
        "type": "object",
        "required": ["ensemble", "images"],
        "properties": {
            "ensemble": {"type": "string"},
            "pool": {"type": "string"},
            "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    }
    body = {
        "application/json": {"schema": AnswerRequest.model_json_schema(ref_template="#/components/schemas/{model}")},
        "multipart/form-data": {"schema": form},
    }

    @routes.post(
        "",
        responses=answers(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.BAD_GATEWAY,
        ),
        openapi_extra={"requestBody": {"required": True, "content": body}},
    )
    async def predict(request: Request, _: Annotated[Caller, Depends(allowed(context, "submit"))]) -> AnswerView:
        """Categorise one product now, from 1..n images or as it is stored."""
        asked = await _read(request, context.settings.gateway.upload_pictures)
        if limiter.available_tokens < 1:
            words = f"{_ASKED_AT_ONCE} questions are waiting for their answers already; ask again"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, words, {"Retry-After": str(_RETRY_SECONDS)})
        return await to_thread.run_sync(_answer, context, asked, limiter=limiter)

    return routes


async def _read(request: Request, most_pictures: int) -> AnswerRequest:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return AnswerRequest.model_validate_json(await request.body())
        if kind == "multipart/form-data":
            return await _read_form(request, most_pictures)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_context=False, include_url=False)) from None
    words = "send application/json or multipart/form-data"
    raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, words)


async def _read_form(request: Request, most_pictures: int) -> AnswerRequest:
    async with request.form(max_files=most_pictures, max_fields=_FIELDS) as form:
        fields: dict[str, Any] = {}
        images = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) and name == "images":
                images.append(await value.read())
            elif isinstance(value, UploadFile) or name in fields:
                raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"form: there is no file '{name}', or it is twice")
            else:
                fields[name] = value
    known = AnswerRequest.model_validate(fields | {"images": ["AA=="] * len(images)})
    return known.model_copy(update={"images": images})


def _answer(context: Context, asked: AnswerRequest) -> AnswerView:
    stores = context.stores
    name, _, wanted = asked.ensemble.partition("@")
    version = stores.runs.version(name, wanted)
    images: Sequence[bytes] = asked.images
    if asked.product is not None:
        images = pictures(stores, asked.dataset, asked.product)
    else:
        check_pictures(images, context.settings.gateway.upload_bytes, context.settings.gateway.upload_pixels)
    if len(images) > context.settings.gateway.upload_pictures:
        most = context.settings.gateway.upload_pictures
        raise BadInputError("images", f"there are {len(images)}, more than {most}", remedy="leave some out")
    timeout = context.settings.gateway.answer_seconds
    return ask(stores.objects, context.queue, version, images, pool=asked.pool, timeout=timeout, now=context.now())


def check_pictures(images: Sequence[bytes], most_bytes: int, most_pixels: int) -> None:
    """Refuse what is too large by its header, before anybody decodes it. Raises RefusedError and BadInputError."""
    if sum(map(len, images)) > most_bytes:
        words = f"the images have more than {most_bytes} bytes together"
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
    for number, content in enumerate(images):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is the one that counts
                with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as image:
                    width, height = image.size
        except Image.DecompressionBombError:
            width = height = most_pixels
        except (OSError, SyntaxError, ValueError):
            remedy = "give JPEG, PNG or WebP files"
            raise BadInputError("images", "it is no picture", position=f"number {number}", remedy=remedy) from None
        if width * height > most_pixels:
            words = f"image {number} has more than {most_pixels} pixels; send a smaller one"
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)


def ask(
    objects: Objects,
    queue: Queue,
    version: EnsembleVersion,
    images: Sequence[bytes],
    *,
    pool: str,
    timeout: float,
    now: float,
) -> AnswerView:
    """A worker's answer, by way of the object store: messages hold no images. `timeout` in seconds.

    Raises BadInputError for images that nobody can decode, and FailedError where no worker answers.
    """
    request = layout.upload_request(now, uuid.uuid4().hex)
    keys = [layout.upload(request, number) for number in range(len(images))]
    try:
        for key, picture in zip(keys, images, strict=True):
            objects.put(key, picture)
        question = {
            "schema": SCHEMA,
            "ensemble": version.name,
            "version": version.version,
            "uploads": keys,
            "pool": pool,
        }
        return _view(objects, version, queue.ask(question, timeout=timeout))
    finally:
        for key in keys:
            objects.delete(key)


def _view(objects: Objects, version: EnsembleVersion, found: Mapping[str, Any]) -> AnswerView:
    if found["error"]:
        raise BadInputError("images", found["error"], remedy="give JPEG, PNG or WebP files")
    fields = outcome_view(found, read_taxonomy(objects, version.dataset))
    fields.pop("error")
    return AnswerView(
        ensemble=version.name,
        version=version.version,
        combination=from_plain(version.document).default_combination,
        seconds=found["seconds"],
        stages=found["stages"],
        **fields,
    )
