"""One product now: pictures in JSON or a form, or a stored product; what is too large is refused by its header."""

import base64
import io
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bson
import httpx2
import pytest
from PIL import Image

from shared.domain import predictions
from tests.conftest import Shop
from tests.gateway_scene import Scene, gateway

LIMITS = {"upload_bytes": 200_000, "upload_pictures": 3, "upload_pixels": 1_000_000}


@pytest.fixture(scope="module")
def scene(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("gateway") / "home"
    shop.copy(home)
    with gateway(home, **LIMITS) as found:
        (outcome,) = found.stores.jobs.outcomes(shop.job, limit=1)
        found.queue.answer = lambda question: {
            "error": "",
            "source": "model",
            "overridden": 0.0,
            "predictions": dict(outcome.predictions),
            "model_only": {},
            "seconds": 0.25,
            "stages": {"decode": 0.05, "forward": 0.2},
        }
        yield found


@pytest.fixture
def client(scene: Scene) -> Iterator[httpx2.Client]:
    scene.queue.asked.clear()
    with scene.client("submit") as found:
        yield found
    assert list(scene.stores.objects.list("uploads/")) == []  # whatever happened


@pytest.fixture
def apple(grocery: Path) -> bytes:
    return (grocery / "apple.jpg").read_bytes()


def as_json(*images: bytes, **fields: Any) -> dict[str, Any]:
    return {"ensemble": "tiny", "images": [base64.b64encode(one).decode() for one in images]} | fields


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_pictures_in_json_and_in_a_form_are_the_same_question(client, scene, apple):
    first = client.post("/v1/predictions", json=as_json(apple, apple))
    files = [("images", ("a.jpg", apple, "image/jpeg"))] * 2
    second = client.post("/v1/predictions", data={"ensemble": "tiny"}, files=files)

    assert first.status_code == second.status_code == 200, second.text
    assert first.json() == second.json()
    assert scene.queue.asked == [[apple, apple]] * 2
    found = first.json()
    best = found["predictions"][found["combination"]]
    assert found["combination"] == "all"
    assert len(best["path"]) == 3
    assert best["top"][0]["category_id"] == best["category_id"]
    assert found["stages"]["forward"] == 0.2
    assert best["probability"] == predictions.from_plain(_stored(scene)).probability


def _stored(scene: Scene) -> Mapping[str, Any]:
    assert scene.queue.answer is not None
    return scene.queue.answer({})["predictions"]["all"]


def test_a_stored_product_is_asked_by_its_id(client, scene, grocery):
    with (grocery / "test.bson").open("rb") as dump:
        document = next(one for one in bson.decode_file_iter(dump) if len(one["imgs"]) == 2)

    answer = client.post("/v1/predictions", json={"ensemble": "tiny", "dataset": "test", "product": document["_id"]})

    assert answer.status_code == 200
    assert scene.queue.asked == [[bytes(one["picture"]) for one in document["imgs"]]]
    product = client.get(f"/v1/datasets/test/products/{document['_id']}").json()
    assert [one["bytes"] for one in product["images"]] == [len(one["picture"]) for one in document["imgs"]]
    image = client.get(f"/v1/datasets/test/products/{document['_id']}/images/0")
    assert image.content == document["imgs"][0]["picture"]
    assert image.headers["content-type"] == "image/jpeg"
    assert client.get(f"/v1/datasets/test/products/{document['_id']}/images/9").status_code == 404


@pytest.mark.parametrize("size", [(1001, 1000), (60_000, 60_000), (2**30, 2**30)])
def test_a_bomb_is_refused_before_it_is_decoded(client, scene, size):
    answer = client.post("/v1/predictions", json=as_json(bomb(*size)))

    assert answer.status_code == 413
    assert "more than 1000000 pixels" in answer.json()["detail"]
    assert scene.queue.asked == []


def test_a_picture_at_the_limit_is_taken(client, scene):
    file = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(file, "PNG")

    assert client.post("/v1/predictions", json=as_json(file.getvalue())).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (lambda apple: {"json": as_json(b"no picture")}, 422, "number 0: it is no picture"),
        (lambda apple: {"json": as_json(apple, apple, apple, apple)}, 422, "more than 3"),
        (lambda apple: {"json": as_json()}, 422, "give images, or dataset and product"),
        (lambda apple: {"json": as_json(apple, dataset="test", product=1)}, 422, "give images, or dataset and product"),
        (lambda apple: {"json": as_json(apple, colour="red")}, 422, "Extra inputs are not permitted"),
        (lambda apple: {"json": as_json(apple, ensemble="nobody")}, 404, "nobody"),
        (lambda apple: {"json": {"ensemble": "tiny", "images": ["?"]}}, 422, "images.0"),
        (lambda apple: {"json": {"ensemble": "tiny", "dataset": "test", "product": 999_999}}, 404, "999999"),
        (lambda apple: {"content": apple, "headers": {"Content-Type": "image/jpeg"}}, 415, "multipart/form-data"),
        (lambda apple: {"data": {"ensemble": "tiny"}, "files": [("photo", apple)]}, 422, "photo"),
        (lambda apple: {"data": {"ensemble": "tiny"}, "files": [("images", apple)] * 4}, 400, "Too many files"),
        (lambda apple: {"json": as_json(apple + bytes(200_000))}, 413, "200000 bytes"),
        (lambda apple: {"json": as_json(bytes(3_000_000))}, 413, "bytes"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(client, scene, apple, request_, status, words):
    answer = client.post("/v1/predictions", **request_(apple))

    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_a_length_is_cut_off_at_the_limit(client):
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 65_536
            yield bytes(65_536)

    try:
        status = client.post(
            "/v1/predictions", content=endless(), headers={"Content-Type": "application/json"}
        ).status_code
    except httpx2.TransportError:
        status = 413  # the server has hung up while the client was still sending
    assert status == 413
    assert sent < 100 * 2**20


def test_pictures_that_nobody_can_decode_are_bad_input(client, scene, apple):
    answer, scene.queue.answer = scene.queue.answer, lambda _: {"error": "image 0 is cut off"}
    try:
        found = client.post("/v1/predictions", json=as_json(apple))
    finally:
        scene.queue.answer = answer
    assert found.status_code == 422
    assert "image 0 is cut off" in found.json()["detail"]


def test_where_no_worker_answers_the_gateway_says_so(client, scene, apple):
    answer, scene.queue.answer = scene.queue.answer, None
    try:
        found = client.post("/v1/predictions", json=as_json(apple))
    finally:
        scene.queue.answer = answer
    assert found.status_code == 502
    assert "no worker answered in time" in found.json()["detail"]


def test_other_requests_are_answered_while_questions_wait(client, scene, apple):
    """More questions than may wait: the rest are asked to come again, and nothing else is held up."""
    answer, asked, go = scene.queue.answer, threading.Semaphore(0), threading.Event()

    def slow(question: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.release()
        assert go.wait(30)
        assert answer is not None
        return answer(question)

    scene.queue.answer = slow
    found: list[int] = []

    def ask() -> None:
        with scene.client("submit") as one:
            found.append(one.post("/v1/predictions", json=as_json(apple)).status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            assert asked.acquire(timeout=30)
        assert client.get("/v1/jobs").status_code == 200
        refused = client.post("/v1/predictions", json=as_json(apple))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    finally:
        go.set()
        for thread in threads:
            thread.join()
        scene.queue.answer = answer
    assert found == [200] * 16
