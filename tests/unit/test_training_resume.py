"""Whatever a member asks for, a training that is interrupted anywhere ends with the bits of an undisturbed one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shared import layout
from shared.domain.ensemble import Augmentation, Member, Schedule, Split
from shared.domain.errors import BadInputError, NewerSchemaError
from tests.tiny_member import Preempted
from workers.training import tensorboard
from workers.training.preemption import PreemptedError
from workers.training.watch import Watch

Bench = Any
WATCHED = Split(seed=26, holdout=0.25)
"""With it five products are watched, and 4 steps make an epoch."""
EVERYTHING = {
    "optimizer": "sgd",
    "momentum": 0.8,
    "accumulate": 2,
    "clip_norm": 0.5,
    "ema": 0.8,
    "plain_epochs": 1,
    "augment": (Augmentation(name="hflip"), Augmentation(name="rotate", amount=15)),
    "schedule": Schedule(kind="cosine", rate=0.05),
}
PLATEAU = {"schedule": Schedule(kind="plateau", rate=2e-3, factor=0.1, patience=0, warmup=0.5), "epochs": 5}
STOPPING = {"schedule": Schedule(kind="cosine", rate=0.02), "early_stopping": 3, "epochs": 12, "ema": 0.5}
CHANGES: dict[str, dict[str, Any]] = {"everything": EVERYTHING, "plateau": PLATEAU, "stopping": STOPPING}


@pytest.fixture
def watched(tiny: Member) -> Member:
    return replace(tiny, split=WATCHED)


def result(bench: Bench, run: str) -> dict[str, Any]:
    """What has to be the same whatever happened."""
    kept = ("kind", "epoch", "step", "loss", "accuracy", "top5", "rate", "watch", "best_epoch", "best_loss")
    metrics = bench.metrics(run)
    return {
        "weights": bench.file(run, "weights.safetensors"),
        "holdout": metrics["holdout"],
        "trained": {key: metrics.get(key) for key in ("epochs", "steps", "best_epoch", "training")},
        "log": [{key: line.get(key) for key in kept} for line in bench.log(run)],
    }


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_training_preempted_anywhere_ends_the_same(bench: Bench, watched: Member, change: dict[str, Any]) -> None:
    run = bench.declare(replace(watched, **change))
    bench.train(run)
    undisturbed = result(bench, run)
    assert (undisturbed["log"][-1]["kind"] == "stopped") == ("early_stopping" in change)
    bench.forget(run)
    attempts, places = 0, set()
    for after in (2, 4, 1, 2, 3, 5, 1, 2, 4, 3, 1000):  # between steps, within and after watching
        attempts += 1
        try:
            bench.train(run, attempts, Preempted(after))
        except PreemptedError:
            counters = saved(bench, run)
            places.add((counters["step"] % 4 == 0, counters["epochs"] * 4 == counters["step"]))
            continue
        break
    assert attempts > 5
    assert places >= {(False, False), (True, False)}  # also at an epoch's last step, before it was watched
    found = result(bench, run)
    for line in undisturbed["log"]:  # losses are summed up from save to save
        line["loss"] = None if line["loss"] is None else pytest.approx(line["loss"])
    assert found == undisturbed


def saved(bench: Bench, run: str) -> dict[str, Any]:
    attempt, step = json.loads(bench.file(run, "checkpoint/latest.json"))["checkpoints"][0]
    state = json.loads(bench.objects.read(layout.checkpoint(run, attempt, step, "state.json")))
    counters: dict[str, Any] = state["counters"]
    return counters


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8])
def test_a_checkpoint_of_the_first_release_is_gone_on_from(bench: Bench, watched: Member, step: int) -> None:
    run = bench.declare(watched)
    bench.train(run)
    undisturbed = result(bench, run)
    bench.forget(run)
    interrupt_at(bench, run, step)
    key = layout.checkpoint(run, 1, step, "state.json")
    counters = json.loads(bench.objects.read(key))["counters"]
    assert counters["epochs"] == step // 4
    first = ("step", "loss_sum", "correct", "seen", "seconds", "undecodable")
    bench.objects.put(key, json.dumps({name: counters[name] for name in first}).encode())
    bench.train(run, 2)
    found = result(bench, run)
    assert (found["weights"], found["holdout"]) == (undisturbed["weights"], undisturbed["holdout"])
    assert [line["watch"] for line in found["log"]] == [line["watch"] for line in undisturbed["log"]]
    begun = step // 4 + 1 if step % 4 else 0  # that epoch's best five were not counted from its start
    assert {line["epoch"]: line["top5"] for line in found["log"]} == {
        line["epoch"]: None if line["epoch"] == begun else line["top5"] for line in undisturbed["log"]
    }


def test_a_checkpoint_of_a_newer_release_is_refused(bench: Bench, watched: Member) -> None:
    run = bench.declare(watched)
    interrupt_at(bench, run, 2)
    bench.objects.put(layout.checkpoint(run, 1, 2, "state.json"), b'{"schema": 2}')
    with pytest.raises(NewerSchemaError, match="a checkpoint of schema 2"):
        bench.train(run, 2)


def interrupt_at(bench: Bench, run: str, step: int) -> None:
    """Leave a checkpoint at a step; at an epoch's last one, after the watch part was judged, which asks once more."""
    with pytest.raises(PreemptedError):
        bench.train(run, 1, Preempted(5 * (step // 4) + step % 4))
    assert saved(bench, run)["step"] == step


class Losses:
    """Watched losses as given, one an epoch."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses
        self.networks: list[dict[str, Any]] = []

    def judge(self, module: Any) -> dict[str, Any]:
        self.networks.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return {"loss": self.losses[len(self.networks) - 1], "product_top1": 0.5, "products": 5}


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    given = Losses([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(Watch, "judge", lambda _, module: given.judge(module))
    return given


def test_early_stopping_keeps_the_best_epoch(bench: Bench, watched: Member, losses: Losses) -> None:
    from workers.vision.checkpoint import get_tensors

    run = bench.declare(replace(watched, early_stopping=3, epochs=9))
    bench.train(run)
    metrics, lines = bench.metrics(run), bench.log(run)
    assert (metrics["epochs"], metrics["best_epoch"], metrics["steps"]) == (5, 2, 20)
    assert [line["kind"] for line in lines] == ["epoch"] * 5 + ["stopped"]
    assert (lines[-1]["epoch"], lines[-1]["step"], lines[-1]["best_epoch"]) == (5, 20, 2)
    kept = get_tensors(bench.objects, layout.run_file(run, "weights.safetensors"))
    assert all(kept[name].equal(tensor) for name, tensor in losses.networks[1].items())
    assert any(not kept[name].equal(tensor) for name, tensor in losses.networks[4].items())
    assert any("the weights of epoch 2 are kept" in line for line in bench.said)


def test_without_early_stopping_the_last_epoch_is_kept(bench: Bench, watched: Member, losses: Losses) -> None:
    from workers.vision.checkpoint import get_tensors

    run = bench.declare(watched)
    bench.train(run)
    kept = get_tensors(bench.objects, layout.run_file(run, "weights.safetensors"))
    assert all(kept[name].equal(tensor) for name, tensor in losses.networks[2].items())
    assert "best_epoch" not in bench.metrics(run)


def test_a_training_that_stops_early_reports_that_all_is_done(
    bench: Bench, watched: Member, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.training.journal import Journal

    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(Journal, "progress", lambda _, report: reports.append(report))
    bench.train(bench.declare(replace(watched, early_stopping=3, epochs=9)))
    training = [report for report in reports if report["stage"] == "training"]
    assert (training[-1]["step"], training[-1]["steps"], training[-1]["seconds_left"]) == (20, 20, 0)
    assert (training[-1]["epoch"], training[-1]["epochs"]) == (5, 5)
    assert training[0]["steps"] == 36
    assert reports[-1]["stage"] == "holdout"


def test_a_plateau_lowers_the_rate_of_later_epochs(bench: Bench, watched: Member, losses: Losses) -> None:
    run = bench.declare(
        replace(watched, schedule=Schedule(kind="plateau", rate=1e-3, factor=0.5, patience=0), epochs=6)
    )
    bench.train(run)
    assert [line["rate"] for line in bench.log(run)] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4])


@pytest.mark.parametrize("change", [{"early_stopping": 2}, {"schedule": PLATEAU["schedule"]}])
def test_with_nothing_to_watch_what_needs_it_is_refused_before_anything_runs(
    bench: Bench, tiny: Member, change: dict[str, Any]
) -> None:
    run = bench.declare(replace(tiny, **change))  # of its 40 products none is watched
    with pytest.raises(BadInputError, match=r"watches 5 % of the training part.*; ingest more labelled products"):
        bench.train(run)
    assert bench.said == []
    assert [key.rpartition("/")[2] for key in bench.objects.list(layout.run_prefix(run))] == ["definition.json"]


def test_the_log_has_the_figures_of_every_epoch(bench: Bench, watched: Member) -> None:
    run = bench.declare(watched)
    bench.train(run)
    lines = bench.log(run)
    assert [(line["kind"], line["epoch"], line["step"]) for line in lines] == [
        ("epoch", epoch, 4 * epoch) for epoch in (1, 2, 3)
    ]
    watch = lines[-1]["watch"]
    assert {"images", "products", "loss", "image_top5", "product_top5", "precision", "recall", "f1"} <= set(watch)
    assert set(watch["half"]) == {"precision", "recall", "f1"}
    assert watch["products"] == 5
    assert lines[-1]["top5"] == 1.0  # of three classes
    (events,) = bench.objects.list(layout.run_file(run, "tensorboard/"))
    assert bench.objects.read(events) == tensorboard.event_file(lines, 0.0)


def test_the_last_epochs_are_not_augmented(bench: Bench, watched: Member) -> None:
    weights = []
    for plain, augment in ((0, ()), (3, EVERYTHING["augment"]), (1, EVERYTHING["augment"])):
        run = bench.declare(replace(watched, plain_epochs=plain, augment=augment))
        bench.train(run)
        weights.append(bench.file(run, "weights.safetensors"))
    assert weights[0] == weights[1] != weights[2]
