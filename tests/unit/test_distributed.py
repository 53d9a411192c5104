"""Ranks that share batches train the network of one process; here over gloo, forked by one process that has torch."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from shared import layout
from shared.domain.ensemble import Augmentation, Member, Schedule, Split
from shared.domain.errors import BadInputError
from shared.domain.product_images import Joint
from shared.settings import TrainingSettings
from tests.tiny_member import MEMBER

Bench = Any
STEPS = 20
NURSERY = """
import os, sys, traceback
from pathlib import Path
import torch
import torch.distributed as dist
from shared.adapters.directory import DirectoryObjects
from shared.settings import ScoringSettings, TrainingSettings
from tests.tiny_member import Preempted
from workers.training import loop, orders, process
from workers.training.preemption import PREEMPTED, PreemptedError
from workers.training.ranks import Ranks

loop.LOG_STEPS = 1
torch.set_num_threads(1)

def train(home, run, attempt, rank, count, after):
    settings = TrainingSettings(device="cpu", decode_threads=1, processes=count)
    if count > 1:
        meeting = f"file://{home}/meeting-{run}-{attempt}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    objects = DirectoryObjects(Path(home))
    preempted = Preempted(after if rank == count - 1 else 0)
    ranks = Ranks(rank, count)
    around = process.Surroundings(objects, settings, ScoringSettings(), lambda: 0.0, print, preempted, ranks)
    process.train(orders.validate(objects, run, settings), attempt, around)

print("ready", flush=True)
for line in sys.stdin:
    home, run, *numbers = line.split()
    attempt, count, after = map(int, numbers)
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            code = 1
            try:
                train(home, run, attempt, rank, count, after)
                code = 0
            except PreemptedError:
                code = PREEMPTED
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""

PLAIN = replace(
    MEMBER,
    model="test_vit",  # no batch norm
    optimizer="sgd",
    momentum=0.8,
    epochs=5,  # of 4 steps
    split=Split(seed=26, holdout=0.25),  # with it five products are watched
    schedule=Schedule(kind="cosine", rate=0.02),
)
FULL = replace(
    PLAIN,
    clip_norm=0.5,
    ema=0.8,
    weight_decay=0.01,
    plain_epochs=2,
    augment=(Augmentation(name="hflip"), Augmentation(name="rotate", amount=15)),
    schedule=Schedule(kind="plateau", rate=0.02, factor=0.5, patience=0),
    early_stopping=4,
)
BATCH_NORM = replace(PLAIN, model="test_resnet", schedule=Schedule(kind="cosine", rate=0.001))
"""A small rate: sums in another order differ in their last digits, of which batch norm makes more with every step."""


class Nursery:
    """Runs attempts by any number of ranks."""

    def __init__(self, log: IO[bytes]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", NURSERY]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
        )
        assert self._line() == "ready"

    def train(self, home: Path, run: str, *, ranks: int, attempt: int = 1, last_asked_after: int = 0) -> list[int]:
        """The exit codes; the last rank is asked to go after so many questions (0: never)."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home} {run} {attempt} {ranks} {last_asked_after}\n")
        self.process.stdin.flush()
        return [int(code) for code in self._line().split()]

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with (tmp_path_factory.mktemp("nursery") / "log").open("wb") as log:
        opened = Nursery(log)
        yield opened
        opened.close()


def weights(bench: Bench, run: str) -> Mapping[str, Any]:
    from workers.vision.checkpoint import get_tensors

    return get_tensors(bench.objects, layout.run_file(run, "weights.safetensors"))


def assert_same(bench: Bench, one: str, several: Mapping[str, Any], log: list[dict[str, Any]]) -> None:
    """Each step's and epoch's figures, and the weights but for running statistics."""
    import torch

    assert len(log) >= STEPS
    for mine, other in zip(bench.log(one), log, strict=True):
        assert {key: mine[key] for key in ("kind", "epoch", "step")} == {k: other[k] for k in ("kind", "epoch", "step")}
        assert other.get("loss") == (None if mine.get("loss") is None else pytest.approx(mine["loss"], abs=1e-5))
        assert other.get("accuracy") == mine.get("accuracy")
        assert other.get("rate") == mine.get("rate")
    for name, tensor in weights(bench, one).items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(several[name], tensor, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    "member",
    [
        PLAIN,
        FULL,
        replace(PLAIN, batch_size=60, epochs=STEPS),  # more than there are: parts of 30 and of the rest
        replace(PLAIN, batch_size=128, epochs=STEPS),  # nothing is left for the second rank
        replace(PLAIN, joint=Joint(kind="tiled"), epochs=STEPS // 2),  # of 2 steps: products are fewer than images
    ],
    ids=["plain", "full", "short", "shorter", "joint"],
)
def test_two_ranks_train_as_one_process(
    bench: Bench, tmp_path: Path, nursery: Nursery, make_dataset: Any, member: Member
) -> None:
    bench.manifest = make_dataset(bench.objects, spoiled=frozenset({103, 117, 126}))
    run = bench.declare(member)
    assert nursery.train(tmp_path, run, ranks=2) == [0, 0]
    found, log, metrics = weights(bench, run), bench.log(run), bench.metrics(run)
    bench.forget(run)
    assert nursery.train(tmp_path, run, ranks=1) == [0]
    alone = bench.metrics(run)
    assert_same(bench, run, found, log)
    assert (metrics["processes"], alone.get("processes")) == (2, None)
    for name in ("training", "steps", "epochs", "holdout"):
        assert metrics[name] == alone[name]
    assert metrics["training"]["undecodable"] > 0


@pytest.mark.parametrize(("accumulate", "batch", "epochs"), [(1, 16, 10), (2, 32, 20)])
def test_with_batch_norm_ranks_train_as_one_process_that_accumulates(
    bench: Bench, tmp_path: Path, nursery: Nursery, accumulate: int, batch: int, epochs: int
) -> None:
    member = replace(BATCH_NORM, batch_size=batch, epochs=epochs)
    several = bench.declare(replace(member, accumulate=accumulate))
    one = bench.declare(replace(member, accumulate=2 * accumulate))
    assert nursery.train(tmp_path, several, ranks=2) == [0, 0]
    assert nursery.train(tmp_path, one, ranks=1) == [0]
    assert_same(bench, one, weights(bench, several), bench.log(several))


def test_who_is_asked_to_go_takes_all_along_and_others_may_go_on(
    bench: Bench, tmp_path: Path, nursery: Nursery
) -> None:
    import torch

    run = bench.declare(FULL)
    assert nursery.train(tmp_path, run, ranks=2) == [0, 0]
    undisturbed, log = weights(bench, run), bench.log(run)
    bench.forget(run)
    assert nursery.train(tmp_path, run, ranks=2, last_asked_after=6) == [143, 143]
    assert bench.objects.exists(layout.run_file(run, "checkpoint/latest.json"))
    left = {key: bench.objects.read(key) for key in list(bench.objects.list(layout.run_prefix(run)))}
    for attempt, ranks in enumerate((2, 1, 4), start=2):
        bench.forget(run)
        for key, content in left.items():
            bench.objects.put(key, content)
        assert nursery.train(tmp_path, run, ranks=ranks, attempt=attempt) == [0] * ranks
        for name, tensor in weights(bench, run).items():
            if ranks == 2:
                assert torch.equal(tensor, undisturbed[name])
            else:
                torch.testing.assert_close(tensor, undisturbed[name], rtol=0.0, atol=1e-4)
        steps = [(line["kind"], line["step"]) for line in bench.log(run)]
        assert steps == [(line["kind"], line["step"]) for line in log]


@pytest.mark.parametrize(("batch", "accumulate", "processes"), [(8, 1, 3), (8, 2, 4), (8, 4, 4), (6, 2, 2)])
def test_a_batch_that_cannot_be_cut_is_refused(bench: Bench, batch: int, accumulate: int, processes: int) -> None:
    from workers.training import orders

    run = bench.declare(replace(MEMBER, batch_size=batch, accumulate=accumulate))
    settings = TrainingSettings(device="cpu", processes=processes)
    with pytest.raises(BadInputError, match=rf"its batch of {batch} cannot be cut .* for {processes} processes"):
        orders.validate(bench.objects, run, settings)


def test_more_processes_than_gpus_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from workers.training import orders

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = TrainingSettings(device="cuda", processes=2)
    with pytest.raises(BadInputError, match="2 processes need a GPU each, and there are 1; lower it"):
        orders.validate(bench.objects, bench.declare(MEMBER), settings)


def test_where_ranks_end_differently_the_reason_wins(tmp_path: Path) -> None:
    from workers.training import torchrun
    from workers.training.endings import Ending

    complete, gone = Ending(0), Ending(143, "the store is away")
    bad, failed = Ending(2, "no such member"), Ending(1, "the loss is no longer finite")
    for endings, asked, expected in [
        ({0: complete, 1: complete}, True, complete),
        ({0: gone, 1: failed}, True, failed),
        ({0: bad, 1: bad}, False, bad),
        ({1: gone}, False, gone),
        ({1: complete}, False, Ending(1, "a process of the training was killed; out of memory?")),
        ({}, True, Ending(143, "preempted: the newest checkpoint is gone on from")),
    ]:
        for rank, ending in endings.items():
            torchrun.leave(tmp_path, rank, ending)
        assert torchrun._together(torchrun._endings(tmp_path), asked) == expected
        for path in tmp_path.iterdir():
            path.unlink()
