import json
from io import BytesIO
from pathlib import Path
from typing import Any

import bson
import pytest
from PIL import Image

from benchmarks import __main__ as command
from benchmarks import data, machine, small_products
from benchmarks.rounds import Comparison, Goals, Round, Timed, UnequalError


def test_pictures_and_dumps_are_the_same_again(tmp_path: Path) -> None:
    pictures = data.pictures(30)
    assert len(set(pictures)) == 30
    assert pictures == data.pictures(30)
    assert 4000 < sum(map(len, pictures)) / 30 < 5400
    for name in ("one", "two"):
        data.write_dump(tmp_path / name, 300_000, distinct=10)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert 300_000 <= (tmp_path / "one").stat().st_size < 330_000


def test_small_products_are_valid_and_each_has_its_own_pictures_but_for_some(tmp_path: Path) -> None:
    images = small_products.write(tmp_path / "dump.bson", 200)
    with (tmp_path / "dump.bson").open("rb") as file:
        products = list(bson.decode_file_iter(file))
    assert (tmp_path / "dump.bson").stat().st_size / images < 900
    assert len({product["_id"] for product in products}) == len(products) == 200
    pictures = [tuple(one["picture"] for one in product["imgs"]) for product in products]
    assert sum(map(len, pictures)) == images
    assert len(set(pictures)) == 200 - 200 // 10 + 1  # each tenth product shows what the one before does
    assert {Image.open(BytesIO(one[0])).convert("RGB").size for one in pictures} == {(16, 16)}


NEED_PACKAGES = {"ray", "ray_best", "webdataset", "webdataset_best"}
"""Those of other programs that only `make bench-peers` installs; what they do themselves has tests of its own."""

TINY: dict[str, dict[str, Any]] = {
    "decoder": {"pictures": 40},
    "walk": {"size": 2**20},
    "ingest": {"size": 2**20},
    "engine": {"model": "test_resnet", "images": 10, "batch_images": 4},
    "stub": {"images": 40},
    "loader": {"images": 40},
    "look_ups": {"images": 40, "known": 1000},
    "training": {"model": "test_resnet", "batch_images": 4, "steps": 2},
    "ingest_memory": {"images": 30},
    "worker_memory": {"images": 10, "chunk_images": 5},
    "messages": {"images": 24, "chunk_images": 8, "singles": 10},
    "overhead": {"model": "test_resnet", "images": 20},
    "packed_put": {"size": 2**20, "singles": 20},
    "job_status": {"chunks": 20, "requests": 20},
    "two_workers": {"images": 64, "chunk_images": 16},
    "dataloader": {"images": 20, "workers": (0,)},
    "dataloader_best": {"images": 20, "workers": (1,)},
    "textbook": {"images": 20, "workers": (0,)},
    "pool": {"chunks": 30, "workers": 3},
    "catalog": {"small": 200, "large": 600},
}


@pytest.mark.parametrize("name", TINY)
def test_each_benchmark_runs_and_its_sides_agree(name: str, tmp_path: Path) -> None:
    found = command.function(name)(tmp_path, **TINY[name], rounds=1)
    assert found.ratio > 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_runs_and_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    assert command.main([], tmp_path) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in command.BENCHMARKS)
    assert command.main(["faster"], tmp_path) == 2
    assert "there is no benchmark faster" in capsys.readouterr().err
    monkeypatch.setattr(machine, "gpu", str)
    assert command.main(["gpu"], tmp_path) == 2
    assert "there is no GPU" in capsys.readouterr().err

    def low(_: Path) -> Comparison:
        return Comparison("low", "something", Goals(must=2.0), (Round(Timed(1.0, None), Timed(1.0, None)),))

    def unequal(_: Path) -> Comparison:
        raise UnequalError("unequal: in round 0")

    monkeypatch.setattr(command, "function", {"walk": low, "stub": low, "decoder": unequal}.__getitem__)
    assert command.main(["walk", "stub"], tmp_path) == 0
    printed = capsys.readouterr().out
    assert printed.count("below") == 4  # at once, and in the table at the end
    (written,) = tmp_path.glob("*.json")
    assert str(written.with_suffix(".md")) in printed
    content = json.loads(written.read_text())
    assert [row["name"] for row in content["rows"]] == ["low", "low"]
    assert content["machine"]["cores"] >= 1
    assert content["versions"]["numpy"]
    written.unlink()
    assert command.main(["decoder", "walk"], tmp_path) == 1
    assert "unequal: in round 0" in capsys.readouterr().out
    (written,) = tmp_path.glob("*.json")
    content = json.loads(written.read_text())
    assert (content["failures"], len(content["rows"])) == (["unequal: in round 0"], 1)


def test_each_group_names_benchmarks() -> None:
    assert {name for group in command.GROUPS.values() for name in group} == set(command.BENCHMARKS)
    assert set(command.BENCHMARKS) == set(TINY) | NEED_PACKAGES
