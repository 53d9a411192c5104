"""Whether the gateway lives, whether it is ready, and its metrics: for probes and Prometheus, without a key."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.telemetry import Check, StoreMetrics, readiness


def router(registry: CollectorRegistry, checks: Mapping[str, Check]) -> APIRouter:
    """Routes /healthz, /readyz and /metrics."""
    routes = APIRouter(tags=["health"])
    stores = StoreMetrics(registry)

    @routes.get("/healthz", response_class=PlainTextResponse)
    async def healthy() -> str:
        """The process answers."""
        return "ok\n"

    @routes.get("/readyz", responses={503: {"description": "A dependency does not answer"}})
    def ready() -> JSONResponse:
        """What each dependency says: ok, or why not."""
        found = readiness(checks)
        for name, words in found.items():
            stores.up.labels(name).set(words == "ok")
        well = all(words == "ok" for words in found.values())
        return JSONResponse(found, HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)

    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
