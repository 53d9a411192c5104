"""A client of the gateway: problems in Shelver's words, and outages that are waited for."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from services.cli.client import PAUSES, AwayError, Client
from shared.domain.errors import BadInputError, ConflictError, FailedError, NotFoundError, StoreUnavailableError

SECRET = "shelver_not-to-be-told"
Answer = httpx2.Response | Exception


class Server:
    """Answers in turn, the last one for ever; what it was asked, and how long the client slept."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, server: str = "http://gateway:8080/") -> Client:
        return Client(server, SECRET, transport=httpx2.MockTransport(self), sleep=self.slept.append)


def problem(status: int, detail: str = "why, and what to do", **headers: str) -> httpx2.Response:
    content = json.dumps({"type": "about:blank", "title": "", "status": status, "detail": detail})
    return httpx2.Response(status, content=content, headers={"content-type": "application/problem+json", **headers})


def ok(**body: Any) -> httpx2.Response:
    return httpx2.Response(200, json=body)


def test_it_asks_with_its_key_and_quotes_what_it_is_given() -> None:
    server = Server(ok(found=1))

    assert server.client().get("jobs", "a/../b?", limit=3, after=None) == {"found": 1}

    (asked,) = server.asked
    assert str(asked.url) == "http://gateway:8080/v1/jobs/a%2F..%2Fb%3F?limit=3"
    assert asked.headers["Authorization"] == f"Bearer {SECRET}"


LOST = httpx2.ReadError("connection reset")


@pytest.mark.parametrize("away", [LOST, problem(503), httpx2.Response(502, text="bad gateway")])
def test_a_removal_whose_answer_was_lost_has_removed_what_is_not_there(away: Answer) -> None:
    server = Server(away, httpx2.ConnectError("refused"), problem(404))

    server.client().delete("jobs", "a")

    assert [request.method for request in server.asked] == ["DELETE"] * 3


@pytest.mark.parametrize("answers", [(), (httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"))])
def test_a_removal_of_what_never_was_is_told(answers: tuple[Answer, ...]) -> None:
    server = Server(*answers, problem(404, "there is no job a"))

    with pytest.raises(NotFoundError, match="there is no job a"):
        server.client().delete("jobs", "a")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, BadInputError, "the server refused: why"),
        (401, BadInputError, "--key: why"),
        (403, BadInputError, "--key: why"),
        (404, NotFoundError, "why"),
        (409, ConflictError, "why"),
        (413, BadInputError, "the server refused: why"),
        (422, BadInputError, "the server refused: why"),
        (500, FailedError, "why"),
        (502, FailedError, "why"),
    ],
)
def test_a_problem_is_an_error_of_shelver_and_is_not_asked_again(status: int, kind: type, words: str) -> None:
    server = Server(problem(status))

    with pytest.raises(kind) as raised:
        server.client().post("jobs", body={"dataset": "test"})

    assert str(raised.value).startswith(words)
    assert SECRET not in str(raised.value)
    assert (len(server.asked), server.slept) == (1, [])


AWAY: list[Callable[[], Answer]] = [
    lambda: httpx2.ConnectError("refused"),
    lambda: httpx2.ReadError(""),
    lambda: problem(503),
    lambda: problem(429),
    lambda: httpx2.Response(502, text="<html>"),
    lambda: httpx2.Response(504),
]


@pytest.mark.parametrize("away", AWAY)
def test_a_server_that_comes_back_is_waited_for(away: Callable[[], Answer]) -> None:
    server = Server(away(), away(), ok(id="j"))

    assert server.client().post("jobs", body={"dataset": "test"}) == {"id": "j"}

    assert server.slept == list(PAUSES[:2])
    assert {request.content for request in server.asked} == {b'{"dataset":"test"}'}


@pytest.mark.parametrize("away", AWAY)
def test_a_server_that_stays_away_is_one_line(away: Callable[[], Answer]) -> None:
    server = Server(away())

    with pytest.raises(StoreUnavailableError) as raised:
        server.client().get("jobs")

    assert server.slept == list(PAUSES)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_server_says_when_to_ask_again(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(
        problem(429, "over the quota", **{"Retry-After": "60"}), problem(503, **{"Retry-After": "soon"}), ok()
    )

    server.client().get("jobs")

    assert server.slept == [60.0, PAUSES[1]]
    assert capsys.readouterr().err == "over the quota; asked again in 60 s\n"


@pytest.mark.parametrize("answer", [httpx2.ReadError("cut"), problem(503)])
def test_what_may_not_be_repeated_is_sent_once(answer: Answer) -> None:
    server = Server(answer)

    with pytest.raises(AwayError):
        server.client().post("keys", body={"tenant": "shop"}, repeat=False)

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer", [httpx2.Response(200, text="<html>"), httpx2.Response(404, text="<html>"), httpx2.Response(301)]
)
def test_what_is_no_gateway_is_told_so(answer: httpx2.Response) -> None:
    with pytest.raises(BadInputError, match="no gateway of Shelver answers at http://gateway:8080"):
        Server(answer).client().get("jobs")


@pytest.mark.parametrize(
    "address", ["", "gateway:8080", "ftp://gateway", "http://", "http://u:p@gateway", "http://h:port"]
)
def test_an_address_has_to_be_one(address: str) -> None:
    with pytest.raises(BadInputError, match="--server"):
        Client(address, SECRET)


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schlüssel"])
def test_a_key_has_to_be_one_and_is_not_repeated(key: str) -> None:
    with pytest.raises(BadInputError, match="--key") as raised:
        Client("http://gateway", key)
    assert not key or key not in str(raised.value)
