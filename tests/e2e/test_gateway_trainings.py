"""Ingests, trainings, runs and ensembles over HTTP; a launcher follows what was asked for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from shared import layout
from tests.conftest import TINY, Shop
from tests.gateway_scene import Scene, gateway


@pytest.fixture(scope="module")
def scene(shop: Shop, tmp_path_factory: pytest.TempPathFactory, grocery: Path) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gateway")
    shop.copy(folder / "home")
    for name in ("train.bson", "category_names.csv"):
        shutil.copy(grocery / name, folder)
    with gateway(folder / "home") as found:
        yield found


@pytest.fixture
def client(scene: Scene) -> Iterator[httpx2.Client]:
    with scene.client("admin") as found:
        yield found


def test_an_ingest_is_asked_for_once(client, scene):
    folder = scene.settings.home.parent
    request = {
        "dataset": "again",
        "source": str(folder / "train.bson"),
        "categories": str(folder / "category_names.csv"),
        "processes": 3,
    }

    first = client.post("/v1/ingests", json=request)
    second = client.post("/v1/ingests", json=request)

    assert first.status_code == second.status_code == 202, first.text
    assert first.json() == second.json()
    assert first.json()["state"] == "running"
    assert first.json()["progress"] is None
    row = scene.stores.catalog.ingest("again")
    assert row is not None
    assert (row.requested, row.processes) == (True, 3)
    assert client.get("/v1/ingests/again").json() == first.json()
    assert "again" in [one["dataset"] for one in client.get("/v1/ingests").json()["ingests"]]
    other = client.post("/v1/ingests", json=request | {"allow_bad": 3})
    assert other.status_code == 409


@pytest.mark.parametrize("source", ["/etc/passwd.bson", "{folder}/../{name}/train.bson", "s3://in/x.bson", "x.bson"])
def test_what_lies_elsewhere_is_not_read(client, scene, source, tmp_path):
    inside = scene.settings.home.parent
    link = inside / "link.bson"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    for name in (source.format(folder=tmp_path, name=tmp_path.name), str(link)):
        answer = client.post("/v1/ingests", json={"dataset": "elsewhere", "source": name})
        assert answer.status_code == 422
        assert "it lies under none of the folders and buckets" in answer.json()["detail"]
    assert client.get("/v1/ingests/elsewhere").status_code == 404


def test_a_training_is_asked_for_followed_cancelled_and_tried_again(client, scene):
    file = TINY.replace("name: tiny", "name: slow").replace("epochs: 2", "epochs: 7")

    made = client.post("/v1/trainings", json={"file": file, "dataset": "train"})

    assert made.status_code == 202, made.text
    training = made.json()
    assert training["state"] == "running"
    assert {run["state"] for run in training["runs"].values()} == {"pending"}
    assert client.post("/v1/trainings", json={"file": file, "dataset": "train"}).json() == training
    run = client.get(f"/v1/runs/{training['runs']['first']['run']}").json()
    assert (run["member"], run["state"], run["metrics"]) == ("first", "pending", None)
    cancelled = client.post(f"/v1/trainings/{training['id']}/cancel").json()
    assert cancelled["state"] == "cancelled"
    assert client.post(f"/v1/trainings/{training['id']}/retry").json()["state"] == "running"
    assert client.post(f"/v1/trainings/{training['id']}/cancel").status_code == 200
    assert client.delete(f"/v1/runs/{run['id']}").status_code == 204
    assert client.get(f"/v1/runs/{run['id']}").status_code == 404
    shown = client.get(f"/v1/trainings/{training['id']}").json()
    assert shown["runs"]["first"]["state"] == "removed"
    assert client.get("/v1/trainings").json()["trainings"][0]["id"] == training["id"]


def test_a_bad_file_is_refused_with_its_line(client):
    answer = client.post(
        "/v1/trainings", json={"file": TINY.replace("test_resnet", "test_resnest"), "dataset": "train"}
    )

    assert answer.status_code == 422
    assert "line 11" in answer.json()["detail"]
    assert "did you mean" in answer.json()["detail"]


def test_a_complete_run_shows_its_figures(client, scene):
    version = client.get("/v1/ensembles/tiny").json()
    run = client.get(f"/v1/runs/{version['runs']['first']}").json()

    assert run["state"] == "complete"
    assert run["metrics"]["holdout"]["products"]["all"]["n"] > 0
    assert run["card"]["parameters"] > 0
    assert client.delete(f"/v1/runs/{run['id']}").status_code == 409


def test_versions_are_imported_and_made_current(client, scene):
    version = client.get("/v1/ensembles/tiny").json()
    weights = {}
    for member, run in version["runs"].items():
        weights[member] = str(scene.settings.home.parent / f"{member}.safetensors")
        shutil.copy(scene.settings.home / "objects" / layout.run_file(run, "weights.safetensors"), weights[member])
    request = {"file": TINY, "dataset": "train", "weights": weights, "current": False}

    made = client.post("/v1/ensembles", json=request)

    assert made.status_code == 201, made.text
    imported = made.json()
    assert (imported["imported"], imported["current"]) == (True, False)
    assert client.post("/v1/ensembles", json=request).json() == imported
    assert client.get(f"/v1/ensembles/tiny/{imported['version']}").json() == imported
    assert client.get("/v1/ensembles/tiny").json()["version"] == version["version"]
    assert client.get("/v1/ensembles").json()["ensembles"] == [
        {name: value for name, value in one.items() if name not in ("document", "fits")} for one in (version, imported)
    ]
    moved = client.put("/v1/ensembles/tiny/current", json={"version": imported["version"]}).json()
    assert (moved["version"], moved["current"]) == (imported["version"], True)
    back = client.put("/v1/ensembles/tiny/current", json={"version": version["version"]})
    assert back.json()["version"] == version["version"]
    assert client.put("/v1/ensembles/tiny/current", json={"version": "0123"}).status_code == 404
    outside = client.post("/v1/ensembles", json=request | {"weights": weights | {"first": "/etc/passwd"}})
    assert outside.status_code == 422


def test_a_dataset_in_use_stays(client):
    assert client.delete("/v1/datasets/train").status_code == 409
    assert client.get("/v1/datasets/train").json()["products"] == 436
    assert len(client.get("/v1/datasets/train/categories").json()["categories"]) > 5
