import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cli import planning
from services.cli.measuring import Measured
from shared import ensemble_file, layout, wiring
from shared.domain.definitions import run_definition
from shared.domain.ensemble import Member
from shared.domain.records import Chunk, EnsembleVersion, Job, JobOptions, Run
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


def score(stores: Stores, job: str, *devices: tuple[str, int, float]) -> None:
    """A job of SMALL that has ended: of each device, images that went through it and the seconds of each."""
    of = {"dataset": "d", "dataset_fingerprint": ""}
    stores.runs.add_version(
        EnsembleVersion(
            **of, name=SMALL.name, version="v1", document=SMALL.plain(), runs={}, taxonomy="", duplicate_table=""
        )
    )
    options = JobOptions(image_duplicates="none", product_duplicates="none")
    stores.jobs.create(
        Job(
            **of,
            id=job,
            ensemble=SMALL.name,
            version="v1",
            options=options,
            products=9,
            images=9,
            state="succeeded",
            precision="bf16",
        )
    )
    stores.jobs.add_chunks(
        Chunk(
            id=f"{job}-{place}",
            job=job,
            pack=0,
            offset=place,
            length=1,
            position=place,
            products=1,
            images=images,
            state="done",
            device=device,
            scored_images=images,
            seconds={"forward": images * seconds, "decode": 1.0},
        )
        for place, (device, images, seconds) in enumerate(devices)
    )


def test_the_newest_job_tells_and_one_on_a_gpu_first(tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path))

    def told() -> tuple[float, str]:
        found = Measured(stores).job(SMALL)
        assert found is not None
        assert found.device_seconds is not None
        return found.device_seconds.value, found.device_seconds.source

    score(stores, "before", ("", 10, 1.0))
    assert told() == (1.0, "job before, an unknown device in bf16")
    score(stores, "cpu", ("CPU x86_64", 10, 2.0), ("", 0, 0.0))
    assert told() == (2.0, "job cpu, CPU x86_64 in bf16")
    score(stores, "mixed", ("CPU x86_64", 90, 2.0), ("NVIDIA T4", 10, 0.25), ("NVIDIA H100", 20, 0.125))
    score(stores, "later", ("CPU x86_64", 10, 3.0))
    assert told() == (0.125, "job mixed, NVIDIA H100 in bf16")


def test_cards_of_gpus_tell_more_than_a_job_on_a_cpu(tmp_path: Path) -> None:
    stores = wiring.stores(Settings(home=tmp_path))
    score(stores, "cpu", ("CPU x86_64", 10, 2.0))

    def planned() -> tuple[float, str, bool]:
        facts = planning.plan(Measured(stores), Settings(), SMALL, 100, 200, 1)
        source = facts["measured"]["device seconds of an image"]
        return facts["scoring"]["gpu_seconds"], source, planning.on_cpu(facts)

    assert planned() == (400.0, "job cpu, CPU x86_64 in bf16", True)
    for name, member in SMALL.members.items():
        train(stores, f"gpu-{name}", member, "NVIDIA H100", 10.0)
    by_cards = len(SMALL.members) * len(SMALL.views) * 200 / 90
    assert planned() == (pytest.approx(by_cards), "the members' cards: they are of GPUs, and no job is", False)
    score(stores, "gpu", ("NVIDIA H100", 10, 0.5))
    assert planned() == (100.0, "job gpu, NVIDIA H100 in bf16", False)


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
