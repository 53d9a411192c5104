import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import ingest_progress, layout
from shared.domain.records import Training
from shared.ingest_progress import IngestProgress
from shared.packs import Manifest
from tests.launcher_scene import House


@pytest.fixture
def house(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> House:
    return House(tmp_path, make_dataset)


def test_what_runs_and_ingests_say_is_exported(house: House) -> None:
    training = house.ask()
    house.service.step()
    first = training.runs["first"]
    told = {"stage": "training", "epoch": 3, "images_per_second": 12.5}
    house.stores.objects.put(layout.run_file(first, "progress.json"), json.dumps(told).encode())
    lines = [{"kind": "epoch", "loss": 2.0}, {"kind": "epoch", "loss": 1.5}, {"kind": "step", "loss": 9.0}]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    house.stores.objects.put(layout.run_file(first, "log.jsonl"), log.encode())
    house.ingest(1)
    ingest_progress.put(house.stores.objects, "d", 0, IngestProgress(10, 50, 3, 1, 5.0, None))
    house.time += 60
    house.service.step()
    labels = {"member": "first", "run": first}
    assert house.metric("training_epoch", **labels) == 2
    assert house.metric("training_loss", **labels) == 1.5
    assert house.metric("training_images_per_second", **labels) == 12.5
    assert house.metric("runs", state="running") == 1
    assert house.metric("ingests", state="running") == 1
    assert house.metric("ingested_products", dataset="d") == 3
    assert house.metric("bad_documents", dataset="d") == 1
    house.complete(house.processes.running("train-")[0])
    house.time += 60
    house.service.step()
    assert house.metric("training_holdout_accuracy", **labels) == 0.75
    assert house.metric("training_epoch", **labels) is None
    assert house.metric("stored_bytes", kind="weights") == 2


def test_accuracies_stay_until_the_ensemble_is_trained_anew(house: House) -> None:
    def accuracies(training: Training) -> list[float | None]:
        runs = training.runs.items()
        return [house.metric("training_holdout_accuracy", member=member, run=run) for member, run in runs]

    def look() -> None:
        house.time += 60
        house.service.step()

    first = house.ask()
    while house.state(first) == "running":
        look()
        for name in house.processes.running("train-"):
            house.complete(name)
    look()
    assert accuracies(first) == [0.75, 0.75, 0.75]
    anew = house.ask(more="other")
    look()
    assert accuracies(first) == [0.75, 0.75, None]
    assert accuracies(anew) == [0.75, 0.75, None]
