"""The command line on real servers of documents and objects makes the submission that it makes on its own stores."""

import json
from pathlib import Path

import pytest

from services import cli
from shared import wiring
from shared.settings import from_environment
from tests.conftest import Shop
from tests.ports import free_port
from tests.servers.places import Bucket


@pytest.fixture
def servers(mongo_url: str, versity_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that name them."""
    monkeypatch.setenv("SHELVER_CATALOG", mongo_url)
    monkeypatch.setenv("SHELVER_OBJECTS", f"{versity_bucket.objects}/shop")
    for name in ("endpoint", "region", "credentials_file"):
        monkeypatch.setenv(f"SHELVER_S3_{name}".upper(), getattr(versity_bucket.s3, name))


def test_servers_give_the_same_submission(
    request: pytest.FixtureRequest, shell, shop: Shop, tmp_path: Path, grocery: Path
) -> None:
    home, ours, theirs = tmp_path / "home", tmp_path / "ours.csv", tmp_path / "theirs.csv"
    assert shell("--home", shop.home, "export", shop.job, "-o", theirs)[0] == 0
    bucket = request.getfixturevalue("versity_bucket")
    request.getfixturevalue("servers")
    tables = str(grocery / "category_names.csv")
    for name in ("train", "test"):
        source = str(grocery / f"{name}.bson")
        assert cli.run(["--home", str(home), "ingest", source, "--dataset", name, "--categories", tables]) == 0
    assert cli.run(["--home", str(home), "train", str(shop.ensemble_file), "--dataset", "train"]) == 0
    score = ["score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128", "--json"]
    code, out, err = shell("--home", home, *score)
    assert code == 0, err

    assert shell("--home", home, "export", json.loads(out)["job"], "-o", ours)[0] == 0

    assert ours.read_bytes() == theirs.read_bytes()
    stored = wiring.buckets(from_environment())(bucket.objects.removeprefix("s3://"))
    assert "shop/datasets/test/packs/00000.bson" in list(stored.list("shop/datasets/test/"))
    assert not (home / "objects").exists()
    assert not (home / "shelver.sqlite").exists()
    code, out, _ = shell("--home", home, "doctor")
    assert code == 0, out
    assert "2 datasets, 2 runs, 1 jobs" in out


def test_a_document_server_that_is_away_is_told(
    servers: None, shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("SHELVER_CATALOG", f"mongodb://{place}/shelver")
    monkeypatch.setenv("SHELVER_MONGO_SELECT_SECONDS", "0.2")
    code, out, err = shell("--home", tmp_path, "jobs")
    assert (code, out) == (1, "")
    assert f"MongoDB at {place}" in err
    assert "is the server up" in err
    code, out, _ = shell("--home", tmp_path, "doctor")
    assert code == 1
    assert "start the server, or correct the settings that name it" in out
