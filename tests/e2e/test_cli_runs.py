import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from services.cli import exporting
from shared import layout, wiring
from shared.domain.records import Run, Training
from shared.ports import Stores
from shared.settings import Settings

MEMBER = {"model": "resnet18", "epochs": 4, "input": {"size": 96}}
FIGURE = {"accuracy": 0.75, "n": 8, "interval": [0.409, 0.929]}
NONE = {"accuracy": None, "n": 0, "interval": None}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return wiring.stores(Settings(home=tmp_path))


@pytest.fixture
def declare(stores: Stores) -> Callable[..., Run]:
    def declare(run: str, member: str = "M", files: dict[str, Any] | None = None, **others: Any) -> Run:
        for name, content in (files or {}).items():
            lines = content if isinstance(content, list) else [content]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            stores.objects.put(layout.run_file(run, name), text.encode())
        row = Run(id=run, member=member, dataset="train", definition={"member": MEMBER}, created=1e9, **others)
        return stores.runs.declare(row)

    return declare


def epoch(number: int) -> dict[str, Any]:
    watch = {"loss": 1.25, "image_top1": 0.5, "product_top1": 0.625, "f1": None}
    line = {"kind": "epoch", "epoch": number, "step": 10 * number, "loss": 2.5 / number, "accuracy": 0.125 * number}
    return line | {"top5": 0.875, "watch": watch, "rate": 3e-4, "images_per_second": 1234.5, "seconds": 60.0 * number}


def test_every_run_and_how_it_went(shell, shop):
    code, out, _ = shell("--home", shop.home, "runs")
    assert code == 0
    first, second = (line.split() for line in out.splitlines()[1:])
    assert (first[1:6], second[1:6]) == (
        ["first", "test_resnet", "train", "complete", "2/2"],
        ["second", "test_resnet", "train", "complete", "2/2"],
    )
    found = json.loads(shell("--home", shop.home, "runs", "--json")[1])
    assert [one["run"] for one in found] == [first[0], second[0]]
    held = found[0]["holdout"]
    assert f"{held['accuracy']:.3f} ({held['interval'][0]:.3f}-{held['interval'][1]:.3f}, n={held['n']})" in out


def test_one_run_by_id_by_its_beginning_and_by_its_member(shell, shop):
    run = json.loads(shell("--home", shop.home, "runs", "--json")[1])[0]["run"]
    code, out, err = shell("--home", shop.home, "runs", run)
    assert (code, err) == (0, "")
    assert shell("--home", shop.home, "runs", run[:6])[1] == out == shell("--home", shop.home, "runs", "first")[1]
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("loss per epoch:", "accuracy per epoch:", "products not seen in training", f"run            {run}"):
        assert words in out
    document = json.loads(shell("--home", shop.home, "runs", run, "--json")[1])
    assert (document["id"], document["state"], document["metrics"]["run"]) == (run, "complete", run)
    assert [line["epoch"] for line in document["log"] if line["kind"] == "epoch"] == [1, 2]


def test_all_that_a_complete_run_tells(shell, tmp_path, declare):
    products = {"all": FIGURE, "seen": NONE, "new": FIGURE}
    macro = {"precision": 0.5, "recall": 0.25, "f1": 0.375, "n": 8}
    held = {"images": FIGURE, "products": products, "top5": {"images": FIGURE, "products": FIGURE}, "macro": macro}
    metrics = {"seconds": 150.0, "device": "CPU x86_64", "precision": "float32", "parameters": 11_182_668}
    metrics["start"] = {"source": "member run 0123456789abcdef", "share": 0.1414}
    entry = {"precision": "float32", "batch": 16, "seconds": 0.25, "images_per_second": 64.0, "rounds": 5}
    card = {"parameters": 11_182_668, "bytes": 44_779_984, "flops": 666_218_496, "device": "CPU x86_64", "threads": 2}
    card |= {"peak_memory_bytes": 10**9, "peak_memory_of": "process", "load_seconds": 0.44, "inference": [entry]}
    files = {
        "log.jsonl": [epoch(1), epoch(2), epoch(3), {"kind": "stopped", "epoch": 3, "step": 30, "best_epoch": 2}],
        "metrics.json": metrics | {"holdout": held, "best_epoch": 2},
        "card.json": card | {"accuracy": {"float32": FIGURE}},
    }
    declare("0a", files=files, state="complete", attempt=2)
    assert "3/4" in shell("--home", tmp_path, "runs")[1]
    code, out, _ = shell("--home", tmp_path, "runs", "0a")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for words in (
        "network resnet18, 96 pixels",
        "attempts 2",
        "parameters 11,182,668",
        "started from member run 0123456789abcdef, 14.1% of the network",
        "trained for 2:30",
        "stopped early after epoch 3",
        "best epoch 2",
        "2 1.250 0.250 0.875 1.250 0.500 0.625 0.0003 1,234",
        "images, among the best 5 0.750 (0.409-0.929, n=8)",
        "products that share an image with training no figure (n=0)",
        "products, mean over categories: precision 0.500, recall 0.250, f1 0.375 (n=8)",
        "card 11,182,668 parameters, 44.8 MB, 0.67 GFLOPs a picture",
        "peak memory 1,000 MB of the process",
        "accuracy, float32 0.750 (0.409-0.929, n=8), holdout images, plain view",
        "float32 16 250.0 64 5",
    ):
        assert words in lines, words
    assert max(map(len, out.splitlines())) <= 80


def test_a_run_in_progress_shows_how_far_it_is(shell, tmp_path, declare):
    progress = {"stage": "training", "step": 15, "steps": 40, "epoch": 2, "epochs": 4, "images_per_second": 33.4}
    step = {"kind": "step", "epoch": 2, "step": 15, "loss": 1.0, "accuracy": 0.5, "images_per_second": 33.0}
    files = {"progress.json": progress | {"seconds_left": 83.0}, "log.jsonl": [epoch(1), step]}
    declare("0a", files=files, state="running", attempt=1)
    declare("1b", files={"progress.json": {"stage": "holdout", "step": 3, "steps": 4}}, state="running")
    declare("2c", state="running")
    for run, words in {
        "0a": "now training, 38% of its steps, epoch 2 of 4, 33 images/s, 1:23 left",
        "1b": "now holdout, 75% of its steps",
        "2c": "now starting",
    }.items():
        out = shell("--home", tmp_path, "runs", run)[1]
        assert words in [" ".join(line.split()) for line in out.splitlines()], out
    code, out, err = shell("--home", tmp_path, "runs")
    assert [line.split()[5] for line in out.splitlines()[1:]] == ["1/4", "0/4", "0/4"]
    assert err == "nobody works here now: what is running was interrupted, and the same `shelver train` goes on\n"
    with wiring.exclusive(Settings(home=tmp_path)):
        assert shell("--home", tmp_path, "runs") == (code, out, "")


def test_a_run_that_never_came_to_anything(shell, tmp_path, declare):
    assert shell("--home", tmp_path, "runs")[1] == "no runs yet; `shelver train` makes them\n"
    declare("0a", state="failed", reason="the disk is full")
    code, out, _ = shell("--home", tmp_path, "runs", "0a")
    assert code == 0
    assert "the disk is full" in out
    assert out.endswith("no epoch is done yet\n")
    document = json.loads(shell("--home", tmp_path, "runs", "0a", "--json")[1])
    assert (document["log"], document["metrics"], document["card"], document["progress"]) == ([], None, None, None)


def test_which_run_is_meant(shell, tmp_path, declare, stores):
    for run in ("aa1", "aa2", "bb1", "bb2"):
        declare(run, member=run[:1].upper())
    for name, runs in (("t1", {"A": "aa1", "B": "bb1"}), ("t2", {"A": "aa2", "bb": "bb2"}), ("t3", {"gone": "cc"})):
        row = Training(id=name, ensemble="e", dataset="train", document={}, runs=runs, created=float(name[1]))
        stores.runs.add_training(row)
    for name, run in {"aa1": "aa1", "A": "aa2", "B": "bb1", "bb2": "bb2"}.items():
        assert json.loads(shell("--home", tmp_path, "runs", name, "--json")[1])["id"] == run
    for name, words in {
        "aa": "run 'aa': it may be aa1, aa2; give more of the id",
        "bb": "run 'bb': it may be bb1, bb2; give more of the id",  # a member too, but a prefix of two
        "": "run '': it may be aa1, aa2, bb1 and more; give more of the id",
        "gone": "there is no run 'gone'; see `shelver runs`",
        "zz": "there is no run 'zz'; see `shelver runs`",
    }.items():
        code, out, err = shell("--home", tmp_path, "runs", name)
        assert (code, out, err) == (2, "", f"shelver: {words}\n")


def test_a_run_as_a_file_for_other_programs(shell, shop, tmp_path):
    file = tmp_path / "first.onnx"
    code, out, err = shell("--home", shop.home, "runs", "first", "--export", file, "--json")
    assert (code, err) == (0, "")
    run = json.loads(shell("--home", shop.home, "runs", "first", "--json")[1])
    assert json.loads(out) == {"run": run["id"], "file": str(file), "bytes": file.stat().st_size}
    assert list(tmp_path.iterdir()) == [file]
    network = onnxruntime.InferenceSession(file)
    size = run["definition"]["member"]["input"]["size"]
    assert [(one.name, one.shape) for one in network.get_inputs()] == [("pictures", ["n", 3, size, size])]
    described = json.loads(network.get_modelmeta().custom_metadata_map["shelver.json"])
    assert described["run"] == run["id"]
    assert len(described["category_ids"]) == network.get_outputs()[0].shape[1]


def test_what_is_no_file_for_other_programs(shell, tmp_path, declare, monkeypatch):
    declare("0a", state="failed")
    declare("1b", state="complete")
    folder = tmp_path / "files"
    folder.mkdir()
    onnx, other = folder / "a.onnx", folder / "a.pt"
    server = ("--server", "http://127.0.0.1:9")
    for given, words in (
        (("--export", onnx), "--export: no run is named; name one of `shelver runs`, or its member"),
        (("0a", "--export", other), f"{other}: no format has this ending; name a file .onnx or .pt2"),
        (("0a", "--export", onnx), "run 0a: its state is failed; `shelver train` completes it"),
        ((*server, "0a", "--export", onnx), "--export: a server hands out no weights; "),
    ):
        code, out, err = shell("--home", tmp_path, "runs", *given)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith(f"shelver: {words}")
    code, out, err = shell("--home", tmp_path, "runs", "1b", "--export", onnx)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("shelver: run 1b cannot be exported: there is no object 'runs/1b/member.yaml' in ")
    monkeypatch.setattr(exporting.util, "find_spec", lambda name: None if name.startswith("onnx") else object())
    code, out, err = shell("--home", tmp_path, "runs", "1b", "--export", onnx)
    assert (code, out) == (2, "")
    assert err == (
        f"shelver: {onnx}: it takes onnx, onnxscript, which this installation lacks; "
        "install them: pip install 'shelver[workers,onnx]'\n"
    )
    assert list(folder.iterdir()) == []
