"""What `helm test` runs, against a gateway, and against real servers."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from services.cli import installation
from services.cli.client import Client
from shared.domain.errors import StoreUnavailableError
from shared.ports import Objects
from tests.conftest import Shop
from tests.gateway_scene import Scene, gateway
from tests.servers.places import Bucket


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with gateway(tmp_path / "home") as found:
        yield found


def looked_at(scene: Scene) -> dict[str, tuple[bool, str]]:
    with closing(Client(scene.url, scene.secret("admin"), sleep=lambda _: None)) as client:
        found = list(installation.checks(scene.stores, scene.queue, client, "fast"))
    return {check.name: (check.ok, check.words) for check in found}


def test_all_is_well_before_anything_was_trained(scene: Scene) -> None:
    first, second = looked_at(scene), looked_at(scene)
    assert [name for name, (ok, _) in first.items() if ok] == ["objects", "documents", "queue", "gateway", "prediction"]
    assert first["prediction"][1] == "not asked for: there is no ensemble yet"
    assert "test 1 of" in first["documents"][1]
    assert "test 2 of" in second["documents"][1]
    assert list(scene.stores.objects.list("")) == []


def test_a_queue_that_is_away_is_seen_from_both_sides(scene: Scene) -> None:
    scene.queue.away = True
    found = looked_at(scene)
    assert found["queue"] == (False, "the queue is away")
    assert found["gateway"] == (False, "queue: the queue is away")
    assert found["objects"][0]


def test_an_object_that_cannot_be_put_is_a_fault(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Objects, key: str, content: bytes) -> int:
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(type(scene.stores.objects), "put", full)
    assert looked_at(scene)["objects"] == (False, "the disk is full")


def test_the_command_says_it_line_by_line(
    scene: Scene,
    mongo_url: str,
    redis_url: str,
    minio_bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings: Mapping[str, str] = {
        "SHELVER_CATALOG": mongo_url,
        "SHELVER_QUEUE": redis_url,
        "SHELVER_OBJECTS": minio_bucket.objects,
        "SHELVER_S3_ENDPOINT": minio_bucket.s3.endpoint,
        "SHELVER_S3_CREDENTIALS_FILE": minio_bucket.s3.credentials_file,
        "SHELVER_SERVER": scene.url,
        "SHELVER_KEY": scene.secret("admin"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert installation.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "ok   objects", "ok   documents", "ok   queue", "ok   gateway", "ok   prediction",
    ]  # fmt: skip
    monkeypatch.setenv("SHELVER_KEY", "of-nobody")
    assert installation.main([]) == 1
    assert "FAIL prediction" in capsys.readouterr().out
    monkeypatch.delenv("SHELVER_SERVER")
    assert installation.main([]) == 2


def test_a_worker_is_asked_where_an_ensemble_is_current(shop: Shop, tmp_path: Path) -> None:
    shop.copy(tmp_path / "home")
    with gateway(tmp_path / "home") as scene:
        (outcome,) = scene.stores.jobs.outcomes(shop.job, limit=1)
        answer = {"error": "", "source": "model", "overridden": 0.0, "predictions": dict(outcome.predictions)}
        scene.queue.answer = lambda _: answer | {"model_only": {}, "seconds": 0.25, "stages": {}}
        ok, words = looked_at(scene)["prediction"]
        assert ok
        assert words.startswith("a worker of pool fast answered by tiny@")
        assert words.endswith("in 0.25 s")
        scene.queue.answer = None
        assert looked_at(scene)["prediction"] == (False, "no worker answered in time")
