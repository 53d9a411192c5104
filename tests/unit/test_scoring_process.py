"""The real child process with real, untrained networks: what the stub engine of other tests stands for."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from services.dispatcher import Dispatcher
from shared import layout, run_files, wiring
from shared.domain import taxonomy
from shared.domain.errors import FailedError
from shared.domain.records import EnsembleVersion
from shared.job_requests import JobRequest, create
from shared.packs import Manifest, read_indexes, read_manifest
from shared.ports import Queue, Stores
from shared.settings import ScoringSettings, Settings
from tests.engine_parts import ensemble
from workers.vision import model
from workers.vision.checkpoint import put_tensors


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, scoring=ScoringSettings(device="cpu", decode_threads=1, batch_images=8))


@pytest.fixture
def stores(settings: Settings, make_dataset: Callable[..., Manifest]) -> Stores:
    """The dataset `tiny`, one product of which is no picture, and `small`, an untrained network without a table."""
    stores = wiring.stores(settings)
    manifest = make_dataset(stores.objects, products=24, spoiled=frozenset({102}))
    classes = taxonomy.parse(stores.objects.read(layout.categories("tiny")), "categories")
    document = ensemble(members=("a",))
    member = dataclasses.replace(document.members["a"], model="test_resnet")
    torch.manual_seed(0)
    weights = model.build(member.model, classes.classes).state_dict()
    put_tensors(stores.objects, layout.run_file("run-a", "weights.safetensors"), weights)
    resolved = model.resolved(member, "float32")
    run_files.put_member(stores.objects, "run-a", resolved, classes=classes.classes, taxonomy=classes.fingerprint)
    stores.runs.add_version(
        EnsembleVersion(
            name="small",
            version="v1",
            document=dataclasses.replace(document, members={"a": member}).plain(),
            runs={"a": "run-a"},
            dataset="tiny",
            dataset_fingerprint=manifest.fingerprint,
            taxonomy=classes.fingerprint,
            duplicate_table="",
        )
    )
    stores.runs.set_current("small", "v1")
    return stores


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    queue = wiring.queue(settings)
    yield queue
    queue.close(grace=2)


def test_a_job_and_a_question_get_the_same_answer(settings: Settings, stores: Stores, queue: Queue) -> None:
    request = JobRequest(dataset="tiny", ensemble="small", chunk_images=12, keep_scores=True)
    job = create(stores, request)
    (job,) = Dispatcher(stores.jobs, stores.objects, queue, settings).run([job.id])
    assert (job.state, job.precision, job.batch_images) == ("finished with errors", "float32", 8)
    outcomes = stores.jobs.outcomes(job.id)
    assert [outcome.product for outcome in outcomes] == list(range(100, 124))
    assert [outcome.product for outcome in outcomes if outcome.error] == [102]
    assert all(stores.objects.exists(chunk.scores) for chunk in stores.jobs.chunks(job.id))
    ((_, index),) = read_indexes(stores.objects, read_manifest(stores.objects, "tiny"))
    pictures = [
        stores.objects.read(layout.pack("tiny", 0), int(index.image_offset[i]), int(index.image_length[i]))
        for i in range(index.first_image[1], index.first_image[2])
    ]
    question = {"schema": 1, "ensemble": "small", "version": ""}
    keys = [layout.upload("request", number) for number in range(len(pictures))]
    for key, picture in zip(keys, pictures, strict=True):
        stores.objects.put(key, picture)
    stores.objects.put(layout.upload("request", 9), b"no picture")
    answer = queue.ask(question | {"uploads": keys}, timeout=120)
    assert (answer["error"], answer["source"]) == ("", "model")
    for name, prediction in outcomes[1].predictions.items():
        assert answer["predictions"][name]["class_index"] == prediction["class_index"]
        assert answer["predictions"][name]["probability"] == pytest.approx(prediction["probability"], abs=1e-4)
    assert answer["seconds"] > 0
    spoiled = queue.ask(question | {"uploads": [layout.upload("request", 9)]}, timeout=120)
    assert spoiled["error"]
    for wrong, words in [
        ({"uploads": []}, "there is none"),
        ({"uploads": keys, "ensemble": "x"}, "'x'"),
        ({"uploads": keys, "schema": 99}, "schema 99"),
    ]:
        with pytest.raises(FailedError, match=words):
            queue.ask(question | wrong, timeout=120)


def test_an_ensemble_whose_weights_are_gone_fails_the_job(settings: Settings, stores: Stores, queue: Queue) -> None:
    stores.objects.delete(layout.run_file("run-a", "weights.safetensors"))
    job = create(stores, JobRequest(dataset="tiny", ensemble="small"))
    (job,) = Dispatcher(stores.jobs, stores.objects, queue, settings).run([job.id])
    assert job.state == "failed"
    assert "weights.safetensors" in job.error
