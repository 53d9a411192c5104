import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.cli.measuring import Measured
from shared import ensemble_file, layout, wiring
from shared.domain.ensemble import Member, run_definition
from shared.domain.records import Run
from shared.ports import Stores
from shared.settings import Settings
from tests.conftest import REPOSITORY

SMALL = ensemble_file.load(REPOSITORY / "ensembles" / "grocery-small.yaml")
MEMBER = SMALL.members["resnet18"]


def train(stores: Stores, run: str, member: Member, device: str, seconds: float, **card: Any) -> None:
    """A complete run over 100 images in 8 epochs."""
    definition = run_definition(member, dataset="d", taxonomy="t", parent="")
    stores.runs.declare(Run(id=run, member="other name", dataset="d", definition=definition, state="complete"))
    metrics = {"training": {"images": 100}, "epochs": 8, "seconds": seconds, "device": device, "precision": "bf16"}
    speeds = [("float32", 1, 1.0), ("bf16", 1, 20.0), ("bf16", 8, 90.0)]
    inference = [{"precision": p, "batch": b, "images_per_second": speed} for p, b, speed in speeds]
    files = {"metrics": metrics, "card": {"bytes": 1000, "inference": inference, **card}}
    for name, content in files.items():
        stores.objects.put(layout.run_file(run, f"{name}.json"), json.dumps(content).encode())


def test_the_newest_run_of_the_same_network_tells_and_one_on_a_gpu_first(tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path))
    train(stores, "a", SMALL.members["resnet10t"], "NVIDIA H100", 1.0)
    assert Measured(stores).member(MEMBER).rates.training is None
    train(stores, "b", MEMBER, "CPU x86_64", 400.0, peak_memory_of="process", peak_memory_bytes=10_000)
    train(stores, "c", MEMBER, "CPU x86_64", 200.0, peak_memory_of="process", peak_memory_bytes=20_000)
    on_cpu = Measured(stores).member(MEMBER)
    assert on_cpu.source == "run c, CPU x86_64 in bf16"
    assert (on_cpu.rates.training, on_cpu.rates.scoring) == (100 * 8 / 200.0, 90.0)
    assert (on_cpu.rates.device_bytes, on_cpu.rates.process_bytes) == (None, 20_000)
    train(stores, "other", replace(MEMBER, seed=1), "CPU x86_64", 1.0)
    assert Measured(stores).member(MEMBER) == on_cpu
    train(stores, "d", MEMBER, "NVIDIA H100", 10.0, peak_memory_of="device", peak_memory_bytes=5000)
    train(stores, "e", MEMBER, "CPU x86_64", 300.0)
    on_gpu = Measured(stores).member(MEMBER)
    assert (on_gpu.source, on_gpu.rates.training) == ("run d, NVIDIA H100 in bf16", 80.0)
    assert (on_gpu.rates.weights, on_gpu.rates.device_bytes) == (1000, 5000)


def test_a_run_without_figures_tells_nothing(tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path))
    definition = run_definition(MEMBER, dataset="d", taxonomy="t", parent="")
    stores.runs.declare(Run(id="imported", member="m", dataset="d", definition=definition, state="complete"))
    found = Measured(stores).member(MEMBER)
    assert (found.source, found.rates.training, found.rates.scoring, found.rates.weights) == ("", None, None, None)


def test_an_empty_home_has_measured_nothing(tmp_path: Path) -> None:
    measured = Measured(wiring.stores(Settings(home=tmp_path)))
    figures = (measured.image_bytes, measured.index_bytes, measured.table_bytes, measured.row_bytes, measured.classes)
    assert figures == (None,) * 5
    assert (measured.ingest_rate, measured.job(SMALL)) == (None, None)
