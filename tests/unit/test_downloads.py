"""Answers that arrive in pieces, over connections that break anywhere."""

import io
import json
import random
from collections.abc import Iterator

import httpx2
import pytest

from services.cli.client import PAUSES, Client
from services.cli.downloads import download
from shared.domain.errors import ConflictError, StoreUnavailableError

PRODUCTS = list(range(1000, 1050))


class Cut(httpx2.SyncByteStream):
    """Content in pieces of random sizes that ends, after so many bytes, in an error or as if it were whole."""

    def __init__(self, content: bytes, dice: random.Random, most: int, *, silent: bool) -> None:
        self._content, self._dice, self._most, self._silent = content, dice, most, silent

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        while sent < min(self._most, len(self._content)):
            size = min(self._dice.randint(1, 60), self._most - sent)
            yield self._content[sent : sent + size]
            sent += size
        if self._most < len(self._content) and not self._silent:
            raise httpx2.RemoteProtocolError("peer closed connection")


class Server:
    """Serves the answers as the gateway does; each connection brings at most `most()` bytes."""

    def __init__(self, dice: random.Random, most: int, *, silent: bool = False) -> None:
        self._dice, self._most, self._silent = dice, most, silent
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        asked = dict(request.url.params)
        self.asked.append(asked)
        content = whole(asked["format"], int(asked["after"]) if "after" in asked else None)
        return httpx2.Response(200, stream=Cut(content, self._dice, self._most, silent=self._silent))

    def client(self) -> Client:
        return Client("http://gateway", "key", transport=httpx2.MockTransport(self), sleep=lambda _: None)


def whole(form: str, after: int | None = None) -> bytes:
    rest = [product for product in PRODUCTS if after is None or product > after]
    if form == "csv":
        head = "_id,category_id\n" if after is None else ""
        return (head + "".join(f"{product},{product % 7}\n" for product in rest)).encode()
    if form == "ndjson":
        return "".join(
            json.dumps({"_id": product, "category_level1": "Obst,Gemüse"}) + "\n" for product in rest
        ).encode()
    return bytes(range(256)) * 4


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(("form", "most"), [("csv", 50), ("ndjson", 200)])
def test_rows_arrive_once_each_however_often_it_breaks(form: str, most: int, silent: bool, seed: int) -> None:
    dice, file = random.Random(seed), io.BytesIO()
    server = Server(dice, most, silent=silent)

    download(server.client(), "0b1", len(PRODUCTS), form, {"fill": 3}, file)

    assert file.getvalue() == whole(form)
    assert len(server.asked) > 5
    assert all(one["fill"] == "3" for one in server.asked)


def test_nothing_but_a_piece_of_the_heading(seed: int) -> None:
    file = io.BytesIO()
    server = Server(random.Random(seed), most=20)  # the heading and less than one row

    with pytest.raises(StoreUnavailableError):
        download(server.client(), "0b1", len(PRODUCTS), "csv", {}, file)

    assert len(server.asked) == 1 + len(PAUSES)
    assert all("after" not in one for one in server.asked)


def test_a_whole_file_begins_again(seed: int) -> None:
    file, dice = io.BytesIO(), random.Random(seed)
    server = Server(dice, most=700)

    def then_whole(request: httpx2.Request) -> httpx2.Response:
        answer = server(request)
        server._most = 2000
        return answer

    client = Client("http://gateway", "key", transport=httpx2.MockTransport(then_whole), sleep=lambda _: None)
    download(client, "0b1", len(PRODUCTS), "parquet", {"combination": None}, file)

    assert file.getvalue() == whole("parquet")
    assert server.asked == [{"format": "parquet"}] * 2


def test_a_refusal_is_none_to_repeat() -> None:
    asked = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(
            409, json={"detail": "it is running"}, headers={"content-type": "application/problem+json"}
        )

    client = Client("http://gateway", "key", transport=httpx2.MockTransport(refuse))
    with pytest.raises(ConflictError, match="it is running"):
        download(client, "0b1", len(PRODUCTS), "csv", {}, io.BytesIO())
    assert len(asked) == 1
