import json
import platform

import pytest

from shared import wiring
from shared.settings import Settings
from tests.conftest import REPOSITORY

CDISCOUNT = ("--products", "7069896", "--images", "12371293")


def test_a_plan_is_made_of_what_the_home_has_measured(shell, shop):
    code, out, err = shell("--home", shop.home, "plan", *CDISCOUNT, "--ensemble", "tiny", "--gpus", "4", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    stores = wiring.stores(Settings(home=shop.home))
    dataset = max(stores.catalog.datasets(), key=lambda row: row.images)
    ingest, training, scoring = (found[stage] for stage in ("ingest", "training", "scoring"))
    assert ingest["bytes"] == round(dataset.bytes / dataset.images * 12_371_293)
    assert ingest["seconds"] == pytest.approx(ingest["bytes"] / stores.catalog.ingest(dataset.name).rate)
    version = stores.runs.version("tiny")
    assert [one["member"] for one in training["members"]] == list(version.runs)
    for one in training["members"]:
        metrics = json.loads(stores.objects.read(f"runs/{version.runs[one['member']]}/metrics.json"))
        images = metrics["training"]["images"] * metrics["epochs"]
        assert one["images_per_second_training"] == pytest.approx(images / metrics["seconds"])
        assert one["measured"].startswith(f"run {version.runs[one['member']]}, CPU ")
    assert training["gpu_seconds"] == pytest.approx(sum(one["seconds"] for one in training["members"]))
    chunks = stores.jobs.chunks(shop.job)
    of_image = sum(c.seconds["forward"] for c in chunks) / sum(c.scored_images for c in chunks)
    where = f"job {shop.job}, CPU {platform.machine()} in float32"
    assert found["measured"]["device seconds of an image"] == where
    assert found["measured"]["bytes of an outcome"] == f"job {shop.job}"
    assert scoring["gpu_seconds"] == pytest.approx(of_image * 12_371_293)
    assert scoring["seconds"] == scoring["gpu_seconds"] / 4
    assert scoring["rows"] == found["export"]["rows"] == 7_069_896
    assert list(found["not_measured"]) == ["seconds of an export"]


def test_people_see_every_stage_and_that_a_cpu_is_no_gpu(shell, shop):
    code, out, err = shell("--home", shop.home, "plan", *CDISCOUNT, "--ensemble", shop.ensemble_file)
    assert code == 0
    for words in ("first", "second", "ingest ", "training ", "scoring ", "export ", "7,069,896 rows", "on 1 GPU, "):
        assert words in out
    assert err.strip().endswith("not of a GPU")


def test_what_nobody_has_measured_is_not_guessed(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    asked = ("--home", tmp_path, "plan", *CDISCOUNT, "--ensemble", "third-place-2017", "--gpus", "8")
    code, out, _ = shell(*asked, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["measured"] == {}
    for stage in ("ingest", "training", "scoring", "export"):
        assert found[stage]["seconds"] is None
        assert found[stage].get("bytes") is None
    assert found["scoring"]["chunks"] == 3021  # all in one pack, where bytes are not known
    assert found["not_measured"]["dpn92 of 180 pixels"] == "`shelver train FILE --dataset ANY --member M02`"
    code, out, err = shell(*asked)
    assert (code, err) == (0, "")
    assert "nothing is measured here yet" in out
    assert "M13" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--products", "2", "--images", "1", "--ensemble", "tiny"), "1 images are too few for 2 products"),
        ((*CDISCOUNT, "--ensemble", "nobody"), "nobody"),
        ((*CDISCOUNT, "--ensemble", "missing.yaml"), "missing.yaml"),
        ((*CDISCOUNT, "--ensemble", "tiny", "--server", "http://127.0.0.1:9"), "stores of this machine"),
    ],
)
def test_what_cannot_be_planned_is_one_line(shell, shop, arguments, words):
    code, _, err = shell("--home", shop.home, "plan", *arguments)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
