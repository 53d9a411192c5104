"""Jobs over HTTP: submitted once, let in up to the quota, and what they found handed out whole or from any row on."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest

from shared.domain import states
from shared.job_requests import JobRequest, create
from tests.conftest import Shop
from tests.gateway_scene import Scene, gateway

TENANT = "local"  # whose jobs the command line makes


@pytest.fixture(scope="module")
def scene(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("gateway") / "home"
    shop.copy(home)
    with gateway(home, quota_products=1000) as found:
        yield found


@pytest.fixture
def client(scene: Scene) -> Iterator[httpx2.Client]:
    with scene.client("submit", TENANT) as found:
        yield found


@pytest.fixture
def submission(shell: Callable[..., Any], shop: Shop, tmp_path: Path) -> bytes:
    """What the command line exports."""
    file = tmp_path / "submission.csv"
    assert shell("--home", shop.home, "export", shop.job, "-o", file)[0] == 0
    return file.read_bytes()


def order(**changes: Any) -> dict[str, Any]:
    return {"dataset": "test", "ensemble": "tiny"} | changes


def test_the_csv_is_the_submission_of_the_command_line(client, shop, submission):
    answer = client.get(f"/v1/jobs/{shop.job}/predictions", params={"format": "csv"})

    assert answer.content == submission
    assert answer.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_stream_that_broke_goes_on_behind_the_last_row(client, shop, form):
    whole = client.get(f"/v1/jobs/{shop.job}/predictions", params={"format": form}).text.splitlines(keepends=True)
    header = 1 if form == "csv" else 0
    for cut in (header + 1, 100, len(whole) - 1, len(whole)):
        arrived = whole[:cut]
        last = arrived[-1].split(",")[0] if form == "csv" else json.loads(arrived[-1])["_id"]
        rest = client.get(f"/v1/jobs/{shop.job}/predictions", params={"format": form, "after": last})
        assert arrived + rest.text.splitlines(keepends=True) == whole


def test_ndjson_and_parquet_have_the_same_rows(client, shop):
    answer = client.get(f"/v1/jobs/{shop.job}/predictions")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    content = client.get(f"/v1/jobs/{shop.job}/predictions", params={"format": "parquet"}).content
    again = client.get(f"/v1/jobs/{shop.job}/predictions", params={"format": "parquet"}).content

    assert pq.read_table(io.BytesIO(content), use_threads=False).to_pylist() == rows
    assert again == content


def test_one_product_is_told_in_full(client, shop, scene):
    row = json.loads(client.get(f"/v1/jobs/{shop.job}/predictions").text.splitlines()[5])

    found = client.get(f"/v1/jobs/{shop.job}/predictions/{row['_id']}").json()

    best = found["predictions"]["all"]
    assert (best["category_id"], best["probability"]) == (row["category_id"], row["probability"])
    assert best["path"] == [row[f"category_level{level}"] for level in (1, 2, 3)]
    assert best["top"][0]["category_id"] == best["category_id"]
    assert [node["level"] for node in best["nodes"]] == [1, 2, 3]
    assert client.get(f"/v1/jobs/{shop.job}/predictions/999999").status_code == 404


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"combination": "none"}, "'none' is not in the ensemble"),
        ({"fill": 3}, "category 3 is not in the category table"),
        ({"after": 999999}, "the job has no product 999999"),
        ({"format": "parquet", "partial": True}, "parquet is one file of the whole"),
    ],
)
def test_what_cannot_be_given_is_refused_before_the_first_row(client, shop, parameters, words):
    answer = client.get(f"/v1/jobs/{shop.job}/predictions", params=parameters)

    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_job_that_runs_gives_nothing_unless_parts_will_do(client):
    job = client.post("/v1/jobs", json=order(chunk_images=50)).json()["id"]

    refused = client.get(f"/v1/jobs/{job}/predictions")
    partial = client.get(f"/v1/jobs/{job}/predictions", params={"partial": True})

    assert refused.status_code == 409
    assert "partial=true" in refused.json()["detail"]
    assert (partial.status_code, partial.text) == (200, "")
    assert client.delete(f"/v1/jobs/{job}").status_code == 409
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelling"


def test_the_same_key_is_the_same_job_and_another_body_a_conflict(client, scene):
    key = {"Idempotency-Key": "monday"}
    before = len(scene.stores.jobs.jobs())

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: client.post("/v1/jobs", json=order(), headers=key).json()["id"], range(16)))

    assert len(set(made)) == 1
    assert len(scene.stores.jobs.jobs()) == before + 1
    other = client.post("/v1/jobs", json=order(skip_decided=False), headers=key)
    assert other.status_code == 409
    assert "belongs to another request" in other.json()["detail"]
    client.post(f"/v1/jobs/{made[0]}/cancel")


def test_reuse_goes_on_with_an_equal_job(client, shop):
    same = order(skip_decided=False, chunk_images=128, reuse=True)
    assert client.post("/v1/jobs", json=same).json()["id"] == shop.job
    assert client.get(f"/v1/jobs/{shop.job}").json()["done"] == 290


def test_requests_at_once_are_let_in_up_to_the_quota(scene):
    """A thousand products may be outstanding, and a job has 290: three of them."""
    with scene.client("submit", "busy") as busy:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: busy.post("/v1/jobs", json=order()), range(12)))

        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 9
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["Retry-After"]) > 0
        assert "quota of 1,000" in refused.json()["detail"]
        made = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
        row = scene.stores.jobs.job(made)
        assert scene.stores.jobs.swap_job(row, states.cancel(row))
        row = scene.stores.jobs.job(made)
        assert scene.stores.jobs.swap_job(row, states.end_cancelled(row, at=1.0))
        assert busy.post("/v1/jobs", json=order()).status_code == 201
    with scene.client("submit", "calm") as calm:
        assert calm.post("/v1/jobs", json=order()).status_code == 201


def test_errors_are_apart(client, scene, shop):
    """A job of which one product failed."""
    stores = scene.stores
    job = create(stores, JobRequest(dataset="test", ensemble="tiny", tenant=TENANT, idempotency_key="spoiled"))
    outcomes = stores.jobs.outcomes(shop.job, limit=1000)
    from dataclasses import replace

    spoiled = [replace(one, job=job.id, error="no picture" if i == 7 else "") for i, one in enumerate(outcomes)]
    stores.jobs.add_outcomes(spoiled)
    stores.jobs.swap_job(job, replace(job, state="finished with errors", generation=job.generation + 1))

    errors = client.get(f"/v1/jobs/{job.id}/predictions/errors")
    refused = client.get(f"/v1/jobs/{job.id}/predictions", params={"format": "csv"})
    filled = client.get(f"/v1/jobs/{job.id}/predictions", params={"format": "csv", "fill": 1})
    some = client.get(f"/v1/jobs/{job.id}/predictions", params={"format": "csv", "partial": True})

    category = client.get("/v1/datasets/test/categories").json()["categories"][0]["category_id"]
    assert [json.loads(line) for line in errors.text.splitlines()] == [
        {"_id": spoiled[7].product, "error": "no picture"}
    ]
    assert refused.status_code == 409
    assert filled.status_code == (200 if category == 1 else 422)
    filled = client.get(f"/v1/jobs/{job.id}/predictions", params={"format": "csv", "fill": category})
    assert filled.text.splitlines()[8] == f"{spoiled[7].product},{category}"
    assert len(filled.text.splitlines()) == 291
    assert len(some.text.splitlines()) == 290
