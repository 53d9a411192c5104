"""Mistakes in ensemble files: each is one line that says where it is and what to do."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import ensemble_file
from shared.domain.errors import BadInputError
from tests.unit.test_ensemble_file import LABELS, SMALL, parse

REFUSED = [
    ("epochs: 3", "epoch: 3", "line 7", "did you mean 'epochs'?"),
    ("model: resnet18}", "model: resnet81}", "line 10", "did you mean 'resnet18'?"),
    ("model: resnet18.a1_in1k", "model: resnet18.a2_in1k", "line 12", "did you mean 'a1_in1k'?"),
    ("model: resnet18.a1_in1k", "model: resnext50", "line 12", "say init: none"),
    ("init: {member: M1}", "init: {member: M9}", "line 11", "members: M1, M2, M3"),
    ("M1: {model: resnet18}", "M1: {model: resnet18, init: {member: M2}}", "line 10", "M1 <- M2 <- M1"),
    ("M1: {model: resnet18}", "M1: {model: resnet18, split: B}", "line 11", "products of this member's holdout"),
    ("split: A", "split: C", "line 8", "one of A, B"),
    ("  split: A\n", "", "line 9", "the key 'split' is missing"),
    ("epochs: 3", "epochs: 3.5", "line 7", "whole number"),
    ("epochs: 3", "epochs: 0", "line 7", "not from 1"),
    ("epochs: 3", "epochs: [3]", "line 7", "found a list"),
    ("holdout: 0.1}\n  B", "holdout: 1.0}\n  B", "line 3", "out of range"),
    ("seed: 2, ", "", "line 4", "the key 'seed' is missing"),
    ("seed: 7", "precision: fp16", "line 12", "unknown value 'fp16'"),
    ("seed: 7", "optimizer: adagrad", "line 12", "one of nadam, adamw, sgd"),
    ("seed: 7", "momentum: 0.8", "line 12", "nadam has no momentum to set; leave it out, or say optimizer: sgd"),
    ("seed: 7", "optimizer: sgd, momentum: 1.0", "line 12", "below 1"),
    ("seed: 7", "accumulate: 3", "line 12", "64 of 'M3' cannot be divided into 3 equal parts; use a divisor of"),
    ("seed: 7", "batch_size: 8, accumulate: 8", "line 12", "one picture each; 2 or more are needed"),
    ("seed: 7", "share: 0", "line 12", "use above 0, at most 1"),
    ("seed: 7", "share: 1.5", "line 12", "out of range"),
    ("seed: 7", "clip_norm: -1", "line 12", "use 0 or more"),
    ("seed: 7", "ema: 1", "line 12", "below 1"),
    (
        "seed: 7",
        "schedule: {kind: cosine, rate: 1.0e-3, warmup: 4}",
        "line 12",
        "warms up for 4 epochs, but 'M3' trains 3; shorten the warmup",
    ),
    ("seed: 7", "head: {kind: conv1x1}", "line 12", "write {kind: conv1x1, channels: 512}, or leave them out"),
    ("seed: 7", "head: {kind: max, channels: 5}", "line 12", "channels are those of a conv1x1"),
    ("seed: 7", "head: maximum", "line 12", "unknown value 'maximum'"),
    ("seed: 7", "trains: []", "line 12", "nothing would learn"),
    ("seed: 7", "trains: heads", "line 12", "did you mean 'head'?"),
    ("seed: 7", "phases: [{epochs: 1}, {epochs: 2, model: resnet18}]", "line 12", "'model' is the same in all phases"),
    ("seed: 7", "phases: [{epochs: 1, batch: 3}]", "line 12", "did you mean 'batch_size'?"),
    ("seed: 7", "plain_epochs: 4", "line 12", "'M3' has only 3 epochs; use at most 3"),
    ("seed: 7", "early_stopping: 3", "line 12", "unknown value '3'; write {patience: EPOCHS}, or none"),
    ("seed: 7", "early_stopping: {patience: 0}", "line 12", "not from 1"),
    ("seed: 7", "early_stopping: {}", "line 12", "the key 'patience' is missing"),
    ("seed: 7", "augment: [rotate]", "line 12", "write {rotate: 15}"),
    ("seed: 7", "augment: [hflip, hflip]", "line 12", "named twice"),
    ("seed: 7", "schedule: {kind: plateu}", "line 12", "did you mean 'plateau'?"),
    ("seed: 7", "schedule: {kind: steps, rates: {2: 1}}", "line 12", "start with epoch 1"),
    ("seed: 7", "schedule: {kind: cosine, rate: -1}", "line 12", "use above 0"),
    ("seed: 7", "joint: true", "line 12", "one of none, tiled, fused"),
    ("seed: 7", "input: {size: 96, sise: 3}", "line 12", "did you mean 'size'?"),
    ("seed: 7", "input: {mean: [0.5]}", "line 12", "one number per channel"),
    ("seed: 7", "seed: 7, seed: 8", "line 12", "the key 'seed' is repeated"),
    ("name: small", "name: small/er", "line 1", "is no name"),
    ("name: small\n", "", "line 1", "the key 'name' is missing"),
    ("name: small", "name: small\ntask: many", "line 2", "multiclass"),
    ("name: small", "name: small\nviews: [upside_down]", "line 2", "unknown value 'upside_down'"),
    ("name: small", "name: small\nviews: [plain, plain]", "line 2", "named twice"),
    ("name: small", "name: small\nmeans: {order: [views, images]}", "line 2", "each of views, members and images"),
    ("name: small", "name: small\nmeans: {weights: {M7: 1}}", "line 2", "known: M1, M2, M3"),
    ("name: small", "name: small\nduplicates: {images: sometimes}", "line 2", "unknown value"),
    ("name: small", "name: small\ncombinations: {all: [M1, M5]}", "line 2", "unknown value 'M5'"),
    ("name: small", "name: small\ncombinations: {all: [M3, ..., M1]}", "line 2", "does not come after"),
    ("name: small", "name: small\ncombinations: {all: [..., M1]}", "line 2", "between two members"),
    ("name: small", "name: small\ncombinations: {all: [M1, M1]}", "line 2", "named twice"),
    ("name: small", "name: small\nblend: 0.95", "line 4", "nothing is left to train on"),
    ("name: small", "name: [small", "line 2", "this is no YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "said"), REFUSED, ids=[new or old for old, new, _, _ in REFUSED])
def test_a_mistake_is_refused_with_its_line_and_the_reason(old: str, new: str, line: str, said: str) -> None:
    assert old in SMALL
    with pytest.raises(BadInputError) as caught:
        parse(SMALL.replace(old, new, 1))
    assert (caught.value.where, caught.value.position) == ("small.yaml", line)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_phase_takes_no_name_of_another_member() -> None:
    text = SMALL.replace("M1: {", "M3-phase1: {").replace("member: M1", "member: M3-phase1")
    with pytest.raises(BadInputError, match="a phase of 'M3' has this name; rename the member"):
        parse(text.replace("seed: 7", "phases: [{epochs: 1}, {epochs: 2}]"))


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="empty"):
        parse("")
    with pytest.raises(BadInputError, match="no such file"):
        ensemble_file.load(tmp_path / "none.yaml")


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="it is a folder; name an ensemble file"):
        ensemble_file.load(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    with pytest.raises(BadInputError, match=f"it is a folder; name a file in it, such as {tmp_path / 'small.yaml'}"):
        ensemble_file.load(tmp_path)


PIECES = [
    "",
    "~",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "&a ",
    "*a",
    "- ",
    "...",
    "\n",
    "\t",
    "!!int ",
    "0x",
    "nan",
    "-1",
    "'",
    "\x07",
    "<<: ",
]


@settings(max_examples=150)
@given(start=st.integers(0, len(SMALL)), length=st.integers(0, 12), piece=st.sampled_from(PIECES))
def test_whatever_is_mistyped_the_answer_is_an_ensemble_or_one_line(start: int, length: int, piece: str) -> None:
    said = mistake(SMALL[:start] + piece + SMALL[start + length :])
    assert not said or (said.startswith("small.yaml") and "\n" not in said)


def mistake(text: str) -> str:
    try:
        parse(text)
    except BadInputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "task: multilabel\n",
            "",
            "line 7: members.frequent: 'labels' is of label sets; leave it out, or say task: multilabel",
        ),
        ("members: harmonic", "members: plurality", "a vote is for one category"),
        ("images: l1", "images: softmax", "softmax is of one category per product"),
        ("{most: 499}", "{least: 9, most: 8}", "no number is between these two"),
        ("{most: 499}", "few", "unknown value 'few'"),
    ],
)
def test_what_label_sets_cannot_have_is_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(words)):
        ensemble_file.parse(LABELS.replace(old, new), "fashion.yaml", ensemble_file.architectures())
