"""Training on a GPU: it ends, may be interrupted anywhere, and its run says on what it ran."""

import json
from dataclasses import replace

import pytest

from tests.tiny_member import Preempted
from tests.training_bench import Bench
from workers.training.preemption import PreemptedError


def test_a_training_on_a_gpu_is_complete_and_says_where_it_ran(bench: Bench) -> None:
    run = bench.declare(replace(bench.member, epochs=20))

    bench.train(run)

    metrics = bench.metrics(run)
    assert metrics["precision"] == "bf16"
    assert "NVIDIA" in metrics["device"]
    assert metrics["holdout"]["products"]["all"]["accuracy"] > 0.8  # three colours
    card = json.loads(bench.file(run, "card.json"))
    assert set(card["accuracy"]) == {"float32", "bf16", "fp16"}


@pytest.mark.parametrize("after", [1, 2, 5])
def test_an_interrupted_training_goes_on_from_its_checkpoint(bench: Bench, after: int) -> None:
    run = bench.declare(bench.member)
    with pytest.raises(PreemptedError):
        bench.train(run, 1, Preempted(after))

    bench.train(run, 2)

    steps = [line["step"] for line in bench.log(run) if line["kind"] == "epoch"]
    assert steps == sorted(set(steps))
    assert bench.metrics(run)["epochs"] == bench.member.epochs
