"""The gateway's HTTP API as a client sees it: one address and key, errors in Shelver's words, outages waited for."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2

from services.cli.show import remark
from shared.domain.errors import (
    BadInputError,
    ConflictError,
    FailedError,
    NotFoundError,
    ShelverError,
    StoreUnavailableError,
)

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""
_LONGEST_PAUSE = 120.0  # whatever the server asks for
_NOTEWORTHY_PAUSE = 5.0  # a person wonders what is going on
_TIMEOUT = httpx2.Timeout(60.0, connect=5.0, read=330.0)  # an answer waits for a worker that loads its networks first
_AWAY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_UNHEARD = (httpx2.ConnectError, httpx2.ConnectTimeout)  # the server got nothing
_PROBLEM = "application/problem+json"

Params = Mapping[str, str | int | bool | None]
_Answer = TypeVar("_Answer")


class AwayError(StoreUnavailableError):
    """The server cannot be reached, or asks to come again after `pause` seconds."""

    def __init__(self, words: str, pause: float = 0.0) -> None:
        self.pause = pause
        super().__init__(words)


class Client:
    """Asks one gateway. What may be repeated is, with growing pauses, as long as the gateway is away.

    Every method takes the segments of a path under /v1 and raises BadInputError, NotFoundError and ConflictError for
    what the gateway refuses, FailedError for what failed there, and StoreUnavailableError where it stays away.
    """

    def __init__(
        self,
        server: str,
        key: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects on the first question. Raises BadInputError for what is no address and no key."""
        self.server = server.rstrip("/")
        _check(self.server, key)
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(headers=headers, timeout=_TIMEOUT, transport=transport)

    def get(self, *path: str, **params: str | int | bool | None) -> Any:
        """The JSON document at a path."""
        return self.patiently(lambda: self._json("GET", path, params=_given(params)))

    def text(self, *path: str) -> str:
        """The text at a path."""
        return self.patiently(lambda: self._answered("GET", path).text)

    def post(self, *path: str, body: Mapping[str, Any] | None = None, repeat: bool = True) -> Any:
        """The answer to a JSON body. `repeat`: asking twice does no harm, so that a lost answer is asked for again."""

        def ask() -> Any:
            return self._json("POST", path, json=body and dict(body))

        return self.patiently(ask) if repeat else ask()

    def post_form(self, *path: str, fields: Mapping[str, str], images: Sequence[bytes]) -> Any:
        """The answer to a form with pictures."""
        files = [("images", (f"{number}", image)) for number, image in enumerate(images)]
        return self.patiently(lambda: self._json("POST", path, data=dict(fields), files=files))

    def delete(self, *path: str) -> None:
        """Remove what is at a path. That it is not there is fine once the server may have heeded a try before."""
        heeded = False

        def ask() -> None:
            nonlocal heeded
            try:
                self._answered("DELETE", path)
            except AwayError as away:
                heeded |= not isinstance(away.__cause__, _UNHEARD)
                raise
            except NotFoundError:
                if not heeded:
                    raise

        self.patiently(ask)

    def readiness(self) -> dict[str, str]:
        """What each dependency of the gateway says to it: "ok", or why not."""

        def ask() -> dict[str, str]:
            with self._asking():
                answer = self._http.get(f"{self.server}/readyz")
            try:
                return {str(name): str(words) for name, words in answer.json().items()}
            except (ValueError, AttributeError):
                raise self._stranger() from None

        return self.patiently(ask)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    @contextmanager
    def stream(self, *path: str, **params: str | int | bool | None) -> Iterator[Iterator[bytes]]:
        """The pieces of a long answer. Tried once: AwayError, also in the middle, is for who knows how to go on."""
        with self._asking(), self._http.stream("GET", self._url(path), params=_given(params)) as answer:
            if not answer.is_success:
                answer.read()
                raise self._error(answer)
            yield answer.iter_bytes()

    def patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        """What `ask` returns, asked again after each AwayError until there are no more tries."""
        for pause in PAUSES:
            try:
                return ask()
            except AwayError as away:
                longest = min(max(pause, away.pause), _LONGEST_PAUSE)
                if longest >= _NOTEWORTHY_PAUSE:
                    remark(f"{away}; asked again in {longest:.0f} s")
                self._sleep(longest)
        return ask()

    def _url(self, path: Sequence[str]) -> str:
        return "/".join([self.server, "v1", *(quote(segment, safe="") for segment in path)])

    def _json(self, method: str, path: Sequence[str], **content: Any) -> Any:
        answer = self._answered(method, path, **content)
        try:
            return answer.json()
        except ValueError:
            raise self._stranger() from None

    def _answered(self, method: str, path: Sequence[str], **content: Any) -> httpx2.Response:
        with self._asking():
            answer = self._http.request(method, self._url(path), **content)
        if not answer.is_success:
            raise self._error(answer)
        return answer

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise AwayError(f"{self.server} does not answer: {error or type(error).__name__}") from error

    def _error(self, answer: httpx2.Response) -> ShelverError:
        status, detail = answer.status_code, _detail(answer)
        if status in _AWAY or (status == HTTPStatus.BAD_GATEWAY and not detail):
            seconds = answer.headers.get("Retry-After", "")
            words = detail or f"{self.server} answers {status} {answer.reason_phrase}"
            return AwayError(words, float(seconds) if seconds.isdigit() else 0.0)
        if not detail:
            return self._stranger()
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(detail)
        if status == HTTPStatus.CONFLICT:
            return ConflictError(detail)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return BadInputError("--key", detail, remedy="an admin makes keys with `shelver keys add`")
        return BadInputError("the server refused", detail) if answer.is_client_error else FailedError(detail)

    def _stranger(self) -> BadInputError:
        return BadInputError("--server", f"no gateway of Shelver answers at {self.server}", remedy="check the address")


def _check(server: str, key: str) -> None:
    try:
        url = httpx2.URL(server)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise BadInputError("--server", "it is no http(s):// address", remedy="such as http://127.0.0.1:8080")
    if not key:
        raise BadInputError("--key", "the server asks for one", remedy="give --key KEY, or set SHELVER_KEY")
    if not (key.isascii() and key.isprintable()) or " " in key:  # it is not repeated: it may be one but for a letter
        raise BadInputError("--key", "it is no API key", remedy="`shelver keys add` prints one")


def _given(params: Params) -> dict[str, str | int | bool]:
    return {name: value for name, value in params.items() if value is not None}


def _detail(answer: httpx2.Response) -> str:
    """The line of a problem document; empty for an answer of something else."""
    if not answer.headers.get("content-type", "").startswith(_PROBLEM):
        return ""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
