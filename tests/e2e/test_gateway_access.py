"""Every route: without a key, with a lesser scope, and what belongs to another tenant."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.domain.records import Job, JobOptions
from shared.packs import Manifest
from tests.gateway_scene import ADMIN, Scene, gateway

PUBLIC = {"/healthz", "/readyz", "/metrics"}
SCOPES = {
    "read": {
        "GET /v1/ingests",
        "GET /v1/ingests/{dataset}",
        "GET /v1/datasets",
        "GET /v1/datasets/{dataset}",
        "GET /v1/datasets/{dataset}/categories",
        "GET /v1/datasets/{dataset}/manifest",
        "GET /v1/datasets/{dataset}/products/{product}",
        "GET /v1/datasets/{dataset}/products/{product}/images/{number}",
        "GET /v1/trainings",
        "GET /v1/trainings/{training}",
        "GET /v1/runs",
        "GET /v1/runs/{run}",
        "GET /v1/runs/{run}/log",
        "GET /v1/ensembles",
        "GET /v1/ensembles/{name}",
        "GET /v1/ensembles/{name}/{version}",
        "GET /v1/jobs",
        "GET /v1/jobs/{job}",
        "GET /v1/jobs/{job}/predictions",
        "GET /v1/jobs/{job}/predictions/errors",
        "GET /v1/jobs/{job}/predictions/{product}",
    },
    "submit": {
        "POST /v1/ingests",
        "POST /v1/trainings",
        "POST /v1/trainings/{training}/cancel",
        "POST /v1/trainings/{training}/retry",
        "POST /v1/ensembles",
        "PUT /v1/ensembles/{name}/current",
        "POST /v1/jobs",
        "POST /v1/jobs/{job}/cancel",
        "DELETE /v1/jobs/{job}",
        "POST /v1/predictions",
    },
    "admin": {
        "POST /v1/keys",
        "GET /v1/keys",
        "DELETE /v1/keys/{key}",
        "DELETE /v1/datasets/{dataset}",
        "DELETE /v1/runs/{run}",
    },
}
LESSER = {"submit": "read", "admin": "submit"}
BODIES = {
    "POST /v1/keys": {"tenant": "x", "scopes": ["read"]},
    "POST /v1/ingests": {"dataset": "x", "source": "/x.bson"},
    "POST /v1/trainings": {"file": "name: x", "dataset": "x"},
    "POST /v1/ensembles": {"file": "name: x", "dataset": "x", "weights": {}},
    "PUT /v1/ensembles/{name}/current": {"version": "0"},
    "POST /v1/jobs": {"dataset": "x", "ensemble": "x"},
    "POST /v1/predictions": {"ensemble": "x", "images": ["AAAA"]},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., Manifest]) -> Iterator[Scene]:
    with gateway(tmp_path_factory.mktemp("gateway") / "home") as found:
        make_dataset(found.stores.objects)
        yield found


def operations(scene: Scene) -> set[str]:
    with scene.bare() as client:
        paths = client.get("/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}" for path, of in paths.items() for method in of if path not in PUBLIC}


def path_of(operation: str) -> tuple[str, str]:
    method, path = operation.split()
    return method, re.sub(r"\{[^}]+\}", "0", path)


def test_every_operation_has_its_scope(scene: Scene) -> None:
    assert operations(scene) == set().union(*SCOPES.values())


@pytest.mark.parametrize("secret", ["", "no such key", ADMIN[:-1]])
def test_without_a_key_nothing_is_answered(scene: Scene, secret: str) -> None:
    with scene.bare(secret) as client:
        for operation in sorted(operations(scene)):
            answer = client.request(*path_of(operation), json=BODIES.get(operation))
            assert answer.status_code == 401, operation
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_operations_and_no_greater_ones(scene: Scene, scope: str) -> None:
    with scene.client(scope) as client:
        for needed, of in SCOPES.items():
            for operation in sorted(of):
                status = client.request(*path_of(operation), json=BODIES.get(operation)).status_code
                greater = list(SCOPES).index(needed) > list(SCOPES).index(scope)
                assert (status == 403) == greater, operation
                assert status != 401, operation


def test_a_revoked_key_is_none(scene: Scene) -> None:
    with scene.bare(ADMIN) as admin:
        made = admin.post("/v1/keys", json={"tenant": "shop", "scopes": ["read"]}).json()
        with scene.bare(made["secret"]) as client:
            assert client.get("/v1/jobs").status_code == 200
            assert admin.delete(f"/v1/keys/{made['id']}").status_code == 204
            assert client.get("/v1/jobs").status_code == 401
        assert {key["id"]: key["revoked"] for key in admin.get("/v1/keys").json()["keys"]}[made["id"]]
        assert "secret" not in admin.get("/v1/keys").text
    stored = scene.settings.home / "shelver.sqlite"
    for file in (stored, Path(f"{stored}-wal")):
        assert not file.exists() or made["secret"].encode() not in file.read_bytes()


def test_another_tenants_job_is_as_good_as_none(scene: Scene) -> None:
    job = Job(
        id="abc123",
        dataset="tiny",
        dataset_fingerprint="f",
        ensemble="e",
        version="v",
        options=JobOptions(
            image_duplicates="none", product_duplicates="none", skip_decided=True, chunk_images=10, keep_scores=False
        ),
        products=1,
        images=1,
        tenant="theirs",
        state="succeeded",
    )
    scene.stores.jobs.create(job)
    mine = [operation for operation in operations(scene) if "/v1/jobs/{job}" in operation]
    assert len(mine) == 6
    with scene.client("admin", "ours") as ours, scene.client("admin", "theirs") as theirs:
        for operation in sorted(mine):
            method, path = path_of(operation)
            answer = ours.request(method, path.replace("/v1/jobs/0", "/v1/jobs/abc123"))
            unknown = ours.request(method, path.replace("/v1/jobs/0", "/v1/jobs/abc124"))
            assert answer.status_code == unknown.status_code == 404, operation
            assert answer.json()["detail"].replace("abc123", "abc124") == unknown.json()["detail"], operation
        assert ours.get("/v1/jobs").json()["jobs"] == []
        assert [one["id"] for one in theirs.get("/v1/jobs").json()["jobs"]] == ["abc123"]
        assert theirs.get("/v1/jobs/abc123").status_code == 200
