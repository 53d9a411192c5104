import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from shared import layout, wiring
from shared.domain import views
from shared.domain.ensemble import Init, Input, Member, Split
from shared.domain.errors import BadInputError, FailedError, NewerSchemaError, NotFoundError, StoreUnavailableError
from tests.tiny_member import Preempted
from workers.training import __main__ as training_command
from workers.training import orders
from workers.training.dataset import divide
from workers.training.pictures import PictureSource
from workers.training.preemption import PREEMPTED, PreemptedError
from workers.vision.checkpoint import put_tensors
from workers.vision.decode import DecodeLimits
from workers.vision.forward import forward_probabilities
from workers.vision.model import build, load_member

Bench = Any


@pytest.fixture(params=["nadam", "adamw"])
def member(request: pytest.FixtureRequest, tiny: Member) -> Member:
    return replace(tiny, optimizer=request.param)


def test_a_training_preempted_at_any_steps_ends_with_the_same_bits(bench: Bench, member: Member) -> None:
    run = bench.declare(member)
    bench.train(run)
    undisturbed = bench.file(run, "weights.safetensors")
    epochs = [line for line in bench.log(run) if line["kind"] == "epoch"]
    bench.forget(run)
    attempts = 0
    for after in (1, 3, 4, 2, 5, 1, 1, 100):  # in the middle of epochs, at their ends, and directly one after another
        attempts += 1
        try:
            bench.train(run, attempts, Preempted(after))
        except PreemptedError:
            continue
        break
    assert attempts > 4
    assert bench.file(run, "weights.safetensors") == undisturbed
    again = [line for line in bench.log(run) if line["kind"] == "epoch"]
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in epochs])
    assert [line["accuracy"] for line in again] == [line["accuracy"] for line in epochs]


def test_a_complete_run_has_everything_and_is_left_alone(bench: Bench, tiny: Member) -> None:
    run = bench.declare(tiny)
    bench.train(run)
    names = {key.removeprefix(layout.run_prefix(run)) for key in bench.objects.list(layout.run_prefix(run))}
    assert {
        "member.yaml",
        "weights.safetensors",
        "metrics.json",
        "log.jsonl",
        "progress.json",
        "card.json",
        "manifest.json",
    } <= names
    assert {"holdout/scores-00000.npy", "holdout/product_id.npy", "holdout/class_index.npy"} <= names
    assert not any(name.startswith("checkpoint/") for name in names)
    before = {name: bench.file(run, name) for name in names}
    bench.train(run, attempt=2)
    assert {name: bench.file(run, name) for name in names} == before
    assert "complete already" in bench.said[-1]


def test_it_learns_and_says_how_well(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, epochs=8))
    bench.train(run)
    metrics = bench.metrics(run)
    losses = [line["loss"] for line in bench.log(run) if line["kind"] == "epoch"]
    assert losses[-1] < losses[0]
    products = metrics["holdout"]["products"]
    assert products["all"]["n"] == products["seen"]["n"] + products["new"]["n"] > 0
    low, high = products["all"]["interval"]
    assert low <= products["all"]["accuracy"] <= high
    assert products["all"]["accuracy"] > 0.6  # three colours; chance is a third


def test_a_run_that_holds_nothing_out_completes_without_figures(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, split=replace(tiny.split, holdout=0.0)))
    bench.train(run)
    assert bench.metrics(run)["holdout"]["products"]["all"]["n"] == 0
    assert json.loads(bench.file(run, "manifest.json"))["run"] == run


def test_a_member_of_a_newer_schema_is_refused(bench: Bench) -> None:
    bench.objects.put(layout.run_file("r", "member.yaml"), b"schema: 2")
    with pytest.raises(NewerSchemaError, match="run r has schema 2"):
        load_member(bench.objects, "r", torch.device("cpu"))


def test_the_loaded_member_computes_what_the_holdout_scores_say(bench: Bench, tiny: Member) -> None:
    run = bench.declare(tiny)
    bench.train(run)
    loaded = load_member(bench.objects, run, torch.device("cpu"))
    assert (loaded.classes, loaded.taxonomy, loaded.name) == (3, bench.manifest.taxonomy, "tiny")
    assert len(loaded.input.mean) == len(loaded.input.std) == 3
    assert not loaded.module.training
    order = orders.validate(bench.objects, run, bench.settings)
    held = divide(bench.objects, bench.manifest, order.taxonomy, tiny.split).held_out
    with PictureSource(bench.objects, held, DecodeLimits(), threads=1, cache_bytes=0) as source:
        (batch,) = source.batches([np.arange(len(held))])
    expected = forward_probabilities(
        loaded.module,
        batch.pictures,
        loaded.input,
        [views.parse("plain"), views.parse("hflip")],
        device=torch.device("cpu"),
        precision="float32",
        batch_images=16,
    )
    with bench.objects.open(layout.run_file(run, "holdout/scores-00000.npy")) as file:
        scores = np.load(file)
    assert scores.dtype == np.float16
    np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_preempted_while_scoring_the_holdout_it_goes_on_there(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, epochs=1))
    with pytest.raises(PreemptedError):
        bench.train(run, 1, Preempted(5))  # three steps, the epoch's end, then the first batch of the holdout
    assert json.loads(bench.file(run, "checkpoint/latest.json"))["checkpoints"][0] == [1, 4]
    assert not bench.objects.exists(layout.run_file(run, "manifest.json"))
    bench.train(run, 2)
    assert "going on from step 4" in bench.said
    assert bench.objects.exists(layout.run_file(run, "manifest.json"))


def test_a_child_takes_the_weights_of_its_parent(bench: Bench, tiny: Member) -> None:
    parent = bench.declare(replace(tiny, epochs=1))
    bench.train(parent)
    child = bench.declare(replace(tiny, name="child", epochs=1, init=Init(kind="member", name="tiny")), parent)
    bench.train(child)
    assert bench.metrics(child)["start"] == {"source": f"member run {parent}", "share": 1.0}
    assert child != parent


def test_weights_come_from_an_object_as_far_as_they_fit(bench: Bench, tiny: Member) -> None:
    put_tensors(bench.objects, "weights/own.safetensors", build("test_resnet", 5).state_dict())
    run = bench.declare(replace(tiny, epochs=1, init=Init(kind="file", name="weights/own.safetensors")))
    bench.train(run)
    start = bench.metrics(run)["start"]
    assert start["source"] == "weights/own.safetensors"
    assert 0.9 < start["share"] < 1.0  # all but the output layer of another number of classes


def test_imagenet_weights_come_from_the_object_store_where_they_are(bench: Bench, tiny: Member) -> None:
    put_tensors(bench.objects, layout.pretrained("test_resnet"), build("test_resnet", 1000).state_dict())
    run = bench.declare(replace(tiny, epochs=1, init=Init(kind="imagenet")))
    bench.train(run)
    assert bench.metrics(run)["start"]["source"] == layout.pretrained("test_resnet")


def test_without_network_the_remedy_names_the_object(
    bench: Bench, tiny: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host\nand many more lines")

    monkeypatch.setattr("timm.create_model", offline)
    run = bench.declare(replace(tiny, init=Init(kind="imagenet")))
    with pytest.raises(BadInputError, match=r"no route to host; .*shelver pretrained add test_resnet FILE"):
        bench.train(run)


BAD: list[tuple[Callable[[Member], Member], str]] = [
    (lambda m: replace(m, init=Init(kind="file", name="weights/none.safetensors")), "there are no weights at"),
    (lambda m: replace(m, model="test_vit", input=Input(size=33)), "does not run at 33 px|cannot build"),
    (lambda m: replace(m, split=Split(seed=1, holdout=0.999)), "left to train on"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_what_cannot_be_trained_is_bad_input(
    bench: Bench, tiny: Member, change: Callable[[Member], Member], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        bench.train(bench.declare(change(tiny)))


def test_weights_of_another_kind_of_network_are_refused(bench: Bench, tiny: Member) -> None:
    put_tensors(bench.objects, "weights/other.safetensors", {"nothing": torch.zeros(1)})
    bench.objects.put("weights/text.safetensors", b"this is text")
    for name, said in (("other", "no tensor of"), ("text", "no safetensors")):
        run = bench.declare(replace(tiny, init=Init(kind="file", name=f"weights/{name}.safetensors")))
        with pytest.raises(BadInputError, match=said):
            bench.train(run)


def test_a_definition_that_does_not_fit_is_refused(bench: Bench, tiny: Member) -> None:
    run = bench.declare(tiny)
    with pytest.raises(BadInputError, match=r"there is no runs/none/definition.json"):
        orders.validate(bench.objects, "none", bench.settings)
    key = layout.run_file(run, "definition.json")
    definition = bench.objects.read(key)
    bench.objects.put(key, definition.replace(b'"epochs": 3', b'"epochs": 4'))
    with pytest.raises(BadInputError, match="digest"):
        orders.validate(bench.objects, run, bench.settings)
    bench.objects.put(key, definition)
    manifest = json.loads(bench.objects.read(layout.manifest("tiny")))
    bench.objects.put(layout.manifest("tiny"), json.dumps(manifest | {"fingerprint": "other"}).encode())
    with pytest.raises(BadInputError, match="content of dataset 'tiny' is another one"):
        orders.validate(bench.objects, run, bench.settings)
    bench.objects.delete(layout.manifest("tiny"))
    with pytest.raises(NotFoundError):
        orders.validate(bench.objects, run, bench.settings)


def test_a_loss_that_is_no_number_fails_the_run(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, schedule=replace(tiny.schedule, rate=1e30, warmup=0.0)))
    with pytest.raises(FailedError, match="no longer finite"):
        bench.train(run)


def test_a_store_that_is_away_is_no_fault_of_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Away:
        def read(self, key: str) -> bytes:
            raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(wiring, "objects", lambda _: Away())
    assert training_command._attempt("0123456789abcdef", 1, training_command.Preemption()) == PREEMPTED
    assert capsys.readouterr().out == "the store is away\n"
