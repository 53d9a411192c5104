"""The command line on a real S3 server makes the submission that it makes on a folder."""

import json
from pathlib import Path

import pytest

from services import cli
from shared import wiring
from shared.settings import from_environment
from tests.conftest import Shop
from tests.servers.places import Bucket


def test_objects_on_s3_give_the_same_submission(
    shell, shop: Shop, versity_bucket: Bucket, tmp_path: Path, grocery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ours, theirs = tmp_path / "home", tmp_path / "ours.csv", tmp_path / "theirs.csv"
    assert shell("--home", shop.home, "export", shop.job, "-o", theirs)[0] == 0
    monkeypatch.setenv("SHELVER_OBJECTS", f"{versity_bucket.objects}/shop")
    for name in ("endpoint", "region", "credentials_file"):
        monkeypatch.setenv(f"SHELVER_S3_{name}".upper(), getattr(versity_bucket.s3, name))
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
    bucket = wiring.buckets(from_environment())(versity_bucket.objects.removeprefix("s3://"))
    assert "shop/datasets/test/packs/00000.bson" in list(bucket.list("shop/datasets/test/"))
    assert not (home / "objects").exists()
