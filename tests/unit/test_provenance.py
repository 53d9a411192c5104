import json

import pytest

from services.reports import provenance
from shared import layout
from shared.domain.errors import NewerSchemaError
from tests.judging_scene import Scene

METRICS = {
    "seconds": 12.5,
    "training": {"images": 50},
    "best_epoch": 2,
    "holdout": {
        "images": {"accuracy": 0.5, "n": 10, "interval": [0.2, 0.8]},
        "products": {
            "all": {"accuracy": 0.75, "n": 4, "interval": [0.3, 0.95]},
            "new": {"accuracy": None, "n": 0, "interval": None},
            "seen": {"accuracy": 0.75, "n": 4, "interval": [0.3, 0.95]},
        },
        "macro": {"precision": 0.5, "recall": 0.5, "f1": 0.4, "n": 4},
    },
}
WATCH = {"images": 9, "products": 6, "loss": 1.5, "image_top1": 0.3, "product_top1": 0.5}
EPOCH = {"kind": "epoch", "epoch": 1, "step": 60, "loss": 2.0, "accuracy": 0.25, "rate": 0.1, "images_per_second": 10.0}
LOG = [
    EPOCH | {"kind": "step", "step": 50, "loss": 9.0, "images_per_second": 1.0},
    EPOCH | {"watch": WATCH},
    EPOCH | {"epoch": 2, "loss": float("nan"), "accuracy": 0.5, "images_per_second": 30.0, "watch": None},
    {"kind": "stopped", "epoch": 2, "step": 120, "best_epoch": 2},
]


@pytest.fixture
def scene(tmp_path, make_dataset):
    return Scene(tmp_path, make_dataset)


def put(scene, name, content):
    scene.stores.objects.put(layout.run_file("run-a", name), content.encode())


def accounts(scene):
    return {one.member: one for one in provenance.members(scene.stores.objects, scene.version, scene.ensemble)}


def test_a_member_in_full(scene):
    put(scene, "metrics.json", json.dumps(METRICS))
    put(scene, "log.jsonl", "".join(json.dumps(line) + "\n" for line in LOG))
    put(scene, "card.json", json.dumps({"flops": 7, "peak": [float("nan"), 1.0]}))
    found = accounts(scene)["a"]
    assert (found.run, found.model, found.input_size, found.images) == ("run-a", "test_resnet", 32, 50)
    assert (found.seconds, found.images_per_second, found.best_epoch, found.macro_f1) == (12.5, 20.0, 2, 0.4)
    assert {name: (one.n, one.share, one.low) for name, one in found.holdout.items()} == {
        "images": (10, 0.5, 0.2),
        "products": (4, 0.75, 0.3),
        "seen products": (4, 0.75, 0.3),
    }
    first, second = found.epochs
    assert (first.epoch, first.loss, first.accuracy) == (1, 2.0, 0.25)
    assert (first.watch_products, first.watch_loss, first.watch_accuracy) == (6, 1.5, 0.5)
    assert (second.loss, second.accuracy, second.watch_products, second.watch_loss) == (None, 0.5, 0, None)
    assert found.card == {"flops": 7, "peak": [None, 1.0]}


def test_a_run_without_files_tells_what_the_ensemble_file_says(scene):
    found = accounts(scene)
    assert list(found) == ["a", "b", "child", "greedy"], "the order of the file"
    assert (found["b"].run, found["b"].model, found["b"].epochs, found["b"].card) == ("run-b", "test_resnet", (), {})
    assert (found["b"].seconds, found["b"].images_per_second, found["b"].holdout) == (None, None, {})


def test_an_earlier_log_has_no_watched_products(scene):
    old = {"schema": 1, "kind": "epoch", "epoch": 1, "step": 5, "loss": 1.0, "accuracy": 0.5, "rate": 0.1}
    put(scene, "log.jsonl", json.dumps(old) + "\n")
    found = accounts(scene)["a"]
    assert (found.epochs[0].loss, found.epochs[0].watch_loss, found.images_per_second) == (1.0, None, None)


@pytest.mark.parametrize("name", ["log.jsonl", "metrics.json", "card.json"])
def test_a_file_of_a_newer_shelver_is_refused(scene, name):
    put(scene, name, json.dumps({"schema": 2}))
    with pytest.raises(NewerSchemaError, match="run run-a has a file of schema 2"):
        accounts(scene)


def test_timings_are_sums_over_chunks(scene):
    scene.score()
    found = provenance.timings(scene.stores.jobs, scene.job)
    assert found.stages == {"forward": 5.0, "decode": 1.0, "write": 0.5}
    assert (found.chunks, found.images, found.scored_images, found.decided, found.copied) == (2, 60, 58, 1, 4)
    assert (found.elapsed, found.precision, found.batch_images) == (60.0, "float32", 8)
