"""Around every request: its id, its line in the log, its metrics, and the limit on its body."""

import logging
import re
import time
from http import HTTPStatus
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import respond
from shared.logs import about
from shared.ports import Clock
from shared.telemetry import GatewayMetrics

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/healthz", "/readyz", "/metrics")


class TooLargeError(Exception):
    """The body is beyond the limit."""


class Observed:
    """ASGI middleware: request ids (the caller's or a new one) in the log and the answer, and metrics per route."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, clock: Clock = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"")
        request = given.decode() if _ID.fullmatch(given) else uuid4().hex[:16]
        status, began = HTTPStatus.INTERNAL_SERVER_ERROR.value, self._clock()

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request.encode())]
            await send(message)

        with about(request=request):
            try:
                await self._app(scope, receive, tagged)
            finally:
                self._note(scope, status, self._clock() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # the template: ids would make a label of each
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._metrics.latency.labels(scope["method"], route).observe(seconds)
        if route not in _QUIET:
            log.info("%s %s %d in %.0f ms", scope["method"], scope["path"], status, 1000 * seconds)


class Limited:
    """ASGI middleware: a body beyond the limit is refused before, or while, it is read."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        got, begun = 0, False

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if announced.isdigit() and int(announced) > self._most:
                raise TooLargeError
            await self._app(scope, counted, noted)
        except TooLargeError:
            if begun:
                raise
            words = f"the body has more than {self._most} bytes"
            answer = respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words, {"Connection": "close"})
            await answer(scope, receive, send)  # closed: else the rest of the body would be waited for
