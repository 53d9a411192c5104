"""What was begun at a gateway: followed to its end, and left there."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from services.cli import awaiting, following
from services.cli.client import Client
from shared import ensemble_file
from shared.domain.errors import BadInputError, FailedError, StoreUnavailableError
from tests.conftest import TINY

ENSEMBLE = ensemble_file.parse(TINY, "test", ensemble_file.architectures())
INGEST = {"dataset": "d", "state": "running", "error": "", "progress": None}
TOLD = {"bytes_done": 1, "bytes_total": 2, "documents": 3, "bad": 1, "rate": 2.0**20, "seconds_left": 61.0}
RUNNING = {"stage": "training", "step": 3, "steps": 4, "epoch": 2, "epochs": 2, "images_per_second": 9.0}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(following, "_LOOK_SECONDS", 0.0)


def client(*answers: dict[str, Any] | Exception) -> Client:
    """Of a server that answers in turn."""
    left = iter(answers)

    def answer(_: httpx2.Request) -> httpx2.Response:
        found = next(left)
        if isinstance(found, BaseException):
            raise found
        return httpx2.Response(200, json=found)

    return Client("http://gateway", "key", transport=httpx2.MockTransport(answer), sleep=lambda _: None)


def training(state: str, first: str, second: str, **more: Any) -> dict[str, Any]:
    progress = RUNNING | {"seconds_left": 5.0}
    states = {"first": first, "second": second}
    runs = {name: {"state": one, "progress": progress if one == "running" else None} for name, one in states.items()}
    return {"id": "t1", "state": state, "reason": "", "runs": runs, "version": ""} | more


def test_an_ingest_that_fails_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    asked = client(INGEST | {"progress": TOLD}, INGEST | {"state": "failed", "error": "offset 7: it is damaged"})
    with pytest.raises(FailedError, match="the ingest of dataset d is failed: offset 7: it is damaged"):
        awaiting.await_ingest(asked, INGEST)
    assert capsys.readouterr().err == "ingest d   50 %  3 products, 1 bad, 1 MiB/s, 1:01 left\n"


def test_an_ingest_of_bad_input_is_bad_input_here_too() -> None:
    asked = client(INGEST | {"state": "failed", "error": "a.bson, offset 7: it is damaged; mend it", "bad_input": True})
    with pytest.raises(BadInputError, match=r"the ingest of dataset d: a\.bson, offset 7: it is damaged; mend it$"):
        awaiting.await_ingest(asked, INGEST)


def test_a_training_shows_the_member_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    ended = training("complete", "complete", "complete", version="v1")
    begun = training("running", "complete", "running")
    assert awaiting.await_training(client(ended), ENSEMBLE, begun) == ended
    assert capsys.readouterr().err.splitlines() == [
        "member first is complete already: skipped",
        "train tiny   88 %  second training, epoch 2/2, 9 images/s, 0:05 left for this member",
    ]


def test_a_training_of_bad_input_is_bad_input_here_too() -> None:
    end = training("failed", "failed", "pending", reason="first: there is no module 'layer9'", bad_input=True)
    with pytest.raises(BadInputError, match=r"training t1: first: there is no module 'layer9'$"):
        awaiting.await_training(client(end), ENSEMBLE, training("running", "pending", "pending"))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (training("failed", "failed", "pending", reason="first: out of memory"), "t1 is failed: first: out of memory"),
        (training("cancelled", "cancelled", "cancelled"), "t1 is cancelled; the same `shelver train` tries it again$"),
    ],
)
def test_a_training_that_does_not_complete_is_a_failure(end: dict[str, Any], words: str) -> None:
    with pytest.raises(FailedError, match=words):
        awaiting.await_training(client(end), ENSEMBLE, training("running", "pending", "pending"))


@pytest.mark.parametrize(
    ("follow", "words"),
    [
        (lambda asked: awaiting.await_job(asked, "score test", "0b1"), "job 0b1 goes on at the server: `shelver jobs"),
        (lambda asked: awaiting.await_ingest(asked, INGEST), "the ingest of dataset d goes on at the server: the same"),
        (
            lambda asked: awaiting.await_training(asked, ENSEMBLE, training("running", "pending", "pending")),
            "training t1 goes on at the server: the same `shelver train`",
        ),
    ],
)
@pytest.mark.parametrize(
    ("why", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (httpx2.ConnectError("x"), StoreUnavailableError)]
)
def test_who_leaves_is_told_that_it_goes_on(
    follow: Callable[[Client], object],
    words: str,
    why: Exception,
    raised: type,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(raised):
        follow(client(*[why] * 9))
    assert words in capsys.readouterr().err
