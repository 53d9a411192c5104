"""The whole API as one ASGI application, made from what is handed in."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.gateway import (
    answers,
    datasets,
    ensembles,
    health,
    ingests,
    jobs,
    keys,
    predictions,
    problems,
    runs,
    trainings,
)
from services.gateway.context import Context
from services.gateway.middleware import Limited, Observed
from shared.telemetry import Check

_MULTIPART_ROOM = 2**20  # of a body besides its pictures: names, boundaries, base64 aside


def create_app(context: Context, registry: CollectorRegistry, checks: Mapping[str, Check]) -> FastAPI:
    """The application. `registry` holds the context's metrics; `checks` are what /readyz asks."""
    app = FastAPI(
        title="Shelver",
        version=metadata.version("shelver"),
        description="Sorts product photographs into a shop's category tree.",
    )
    problems.install(app)
    app.include_router(health.router(registry, checks))
    for resource in (keys, ingests, datasets, trainings, runs, ensembles, predictions, jobs, answers):
        app.include_router(resource.router(context))
    # base64 makes four bytes of three
    app.add_middleware(Limited, most_bytes=context.settings.gateway.upload_bytes * 4 // 3 + _MULTIPART_ROOM)
    app.add_middleware(Observed, metrics=context.metrics)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schema of problems and without FastAPI's own idea of them."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        schemas = found["components"]["schemas"]
        schemas["Problem"] = problems.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = found
    return app.openapi_schema
