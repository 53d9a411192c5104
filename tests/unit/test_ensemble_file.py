import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import ensemble_file
from shared.domain.definitions import ensemble_definition
from shared.domain.ensemble import Ensemble, Init, Input, LabelRange, Mean, Schedule, from_plain
from shared.domain.errors import BadInputError

ARCHITECTURES = {"resnet18": ("a1_in1k",), "test_resnet": ("r160_in1k",), "resnext50": ()}
SMALL = """\
name: small
splits:
  A: {seed: 1, holdout: 0.1}
  B: {seed: 2, holdout: 0.1}
defaults:
  input: {size: 96}
  epochs: 3
  split: A
members:
  M1: {model: resnet18}
  M2: {model: test_resnet, init: {member: M1}, epochs: 5}
  M3: {model: resnet18.a1_in1k, init: imagenet, seed: 7}
"""


def parse(text: str) -> Ensemble:
    return ensemble_file.parse(text, "small.yaml", ARCHITECTURES)


def test_members_take_the_files_defaults_and_then_the_built_in_ones() -> None:
    ensemble = parse(SMALL)
    first, second, third = ensemble.members.values()
    assert first.input == Input(size=96)
    assert (first.epochs, second.epochs, third.seed) == (3, 5, 7)
    assert first.split == ensemble.splits["A"]
    assert first.schedule == Schedule(kind="cosine", rate=1e-3)
    assert (second.init, third.init) == (Init(kind="member", name="M1"), Init(kind="imagenet"))
    assert ensemble.views == ("plain", "hflip")
    assert ensemble.combinations == {"all": ("M1", "M2", "M3")}


def test_equal_members_under_two_names_have_different_seeds() -> None:
    ensemble = parse(
        SMALL.replace("  M3: {model: resnet18.a1_in1k, init: imagenet, seed: 7}", "  M4: {model: resnet18}")
    )
    assert ensemble.members["M1"].seed != ensemble.members["M4"].seed


def test_an_input_of_a_member_changes_only_the_keys_it_names() -> None:
    ensemble = parse(SMALL.replace("M1: {model: resnet18}", "M1: {model: resnet18, input: {fit: pad}}"))
    assert ensemble.members["M1"].input == Input(size=96, fit="pad")


def test_a_range_runs_over_the_files_order_of_members() -> None:
    ensemble = parse(SMALL + "combinations: {one: [M2], all: [M1, ..., M3]}\n")
    assert ensemble.combinations == {"one": ("M2",), "all": ("M1", "M2", "M3")}
    assert ensemble.default_combination == "all"


def test_numbers_without_a_point_are_numbers() -> None:
    member = parse(
        SMALL.replace("epochs: 3", "schedule: {kind: steps, rates: {1: 1e-4, 3: 0x1}}\n  epochs: 3", 1).replace(
            "0x1", "1"
        )
    )
    assert member.members["M1"].schedule == Schedule(kind="steps", rates=((1, 1e-4), (3, 1.0)))


FULL = "optimizer: sgd, momentum: 0.8, accumulate: 4, clip_norm: 1, ema: 0.999, plain_epochs: 2, share: 0.25"
"""Settings of a training that differ from all defaults."""


def test_settings_of_a_training() -> None:
    member = parse(SMALL.replace("seed: 7", f"{FULL}, early_stopping: {{patience: 5}}")).members["M3"]
    assert (member.optimizer, member.momentum, member.accumulate) == ("sgd", 0.8, 4)
    assert (member.clip_norm, member.ema, member.plain_epochs, member.early_stopping) == (1.0, 0.999, 2, 5)
    assert member.share == 0.25


def test_a_member_turns_off_what_the_files_defaults_turn_on() -> None:
    text = SMALL.replace("  split: A\n", "  split: A\n  ema: 0.9\n  early_stopping: {patience: 2}\n", 1)
    member = parse(text.replace("seed: 7", "ema: 0, early_stopping: none")).members["M3"]
    assert (member.ema, member.early_stopping) == (0.0, 0)


def test_momentum_among_the_defaults_is_nothing_to_another_optimizer() -> None:
    text = SMALL.replace("  split: A\n", "  split: A\n  optimizer: sgd\n  momentum: 0.5\n", 1)
    first, _, third = parse(text.replace("seed: 7", "seed: 7, optimizer: adamw")).members.values()
    assert first.momentum == 0.5
    assert third == replace(parse(SMALL).members["M3"], optimizer="adamw")


def test_members_may_vote() -> None:
    ensemble = parse(SMALL + "means: {members: plurality}\n")
    assert ensemble.means.members == Mean(votes=True)
    assert parse(ensemble_file.render(ensemble)) == ensemble
    assert from_plain(ensemble.plain()) == ensemble
    assert ensemble_definition(ensemble) != ensemble_definition(parse(SMALL))
    with pytest.raises(BadInputError, match=r"means\.views: unknown value 'plurality'"):
        parse(SMALL + "means: {views: plurality}\n")


def test_means_and_weights() -> None:
    means = parse(SMALL + "means: {members: geometric, images: {power: 0.5}, weights: {M2: 2}}\n").means
    assert (means.views, means.members, means.images) == (Mean(), Mean(power=0.0), Mean(power=0.5))
    assert means.weights == {"M2": 2.0}


def test_phases_are_members_that_follow_each_other() -> None:
    phases = "phases: [{trains: head, epochs: 1, batch_size: 32}, {trains: [layer4], epochs: 2}, {epochs: 4}]"
    ensemble = parse(SMALL.replace("seed: 7", f"seed: 7, {phases}"))
    assert list(ensemble.members) == ["M1", "M2", "M3-phase1", "M3-phase2", "M3"]
    first, second, last = list(ensemble.members.values())[2:]
    assert [m.init for m in (first, second, last)] == [
        Init(kind="imagenet"),
        Init(kind="member", name="M3-phase1"),
        Init(kind="member", name="M3-phase2"),
    ]
    assert [(m.epochs, m.trains, m.batch_size, m.seed) for m in (first, second, last)] == [
        (1, ("head",), 32, 7),
        (2, ("layer4",), 64, 7),
        (4, (), 64, 7),
    ]
    assert ensemble.combinations == {"all": ("M1", "M2", "M3")}
    named = "combinations: {early: [M3-phase1], all: [M1, ..., M3]}\n"
    both = parse(SMALL.replace("seed: 7", f"seed: 7, {phases}") + named)
    assert both.combinations == {"early": ("M3-phase1",), "all": ("M1", "M2", "M3")}
    assert parse(ensemble_file.render(both)) == both


def test_another_holdout_may_be_as_published() -> None:
    text = SMALL.replace("M1: {model: resnet18}", "M1: {model: resnet18, split: B}")
    assert parse(text.replace("epochs: 5", "epochs: 5, as_published: true")).members["M2"].init.as_published


def test_the_shipped_names_are_those_of_the_pinned_timm() -> None:
    shipped = ensemble_file.architectures()
    assert sorted(shipped) == sorted(timm.list_models())
    tagged = [f"{name}.{tag}" for name, tags in shipped.items() for tag in tags]
    assert sorted(tagged) == sorted(timm.list_models(pretrained=True))


def test_every_file_in_ensembles_is_valid(grocery: Path) -> None:
    files = sorted((grocery.parent.parent / "ensembles").glob("*.yaml"))
    assert files
    for file in files:
        assert ensemble_file.load(file).name == file.stem


@settings(max_examples=40)
@given(
    size=st.integers(16, 512),
    power=st.floats(-3, 3),
    rate=st.floats(1e-6, 1.0),
    blend=st.sampled_from([0.0, 0.05]),
    order=st.permutations(["views", "members", "images"]),
    policy=st.sampled_from(["none", "unique", "softmax"]),
    full=st.booleans(),
)
def test_a_rendered_file_parses_to_an_equal_ensemble(
    size: int, power: float, rate: float, blend: float, order: list[str], policy: str, full: bool
) -> None:
    document = yaml.safe_load(SMALL) | {"blend": blend, "duplicates": {"images": policy}}
    document |= {"means": {"order": order, "images": {"power": power}}}
    document["defaults"] |= {"schedule": {"kind": "cosine", "rate": rate, "warmup": 1}}
    document["defaults"]["input"]["size"] = size
    if full:
        document["members"]["M3"] |= yaml.safe_load(f"{{{FULL}, early_stopping: {{patience: 1}}}}")
    ensemble = parse(yaml.safe_dump(document, sort_keys=False))
    assert parse(ensemble_file.render(ensemble)) == ensemble
    assert from_plain(yaml.safe_load(yaml.safe_dump(ensemble_plain(ensemble)))) == ensemble


def ensemble_plain(ensemble: Ensemble) -> object:
    def lists(value: object) -> object:
        if isinstance(value, dict):
            return {key: lists(v) for key, v in value.items()}
        return [lists(v) for v in value] if isinstance(value, list | tuple) else value

    return lists(ensemble.plain())


def test_the_order_of_members_does_not_change_a_member() -> None:
    lines = SMALL.splitlines(keepends=True)
    turned = parse("".join(lines[:9] + lines[:8:-1]))
    assert turned.members == parse(SMALL).members
    assert replace(turned, combinations={}) == replace(parse(SMALL), combinations={})


LABELS = """
name: fashion
task: multilabel
splits: {A: {seed: 1, holdout: 0.1}}
defaults: {epochs: 2, label_smoothing: 0.0, head: {kind: average, hidden: 64}}
members:
  all: {model: resnet18}
  frequent: {model: resnet18, labels: {least: 500}, class_weights: balanced}
  rare: {model: resnet18, labels: {most: 499}, sampling: balanced}
means: {members: harmonic}
duplicates: {images: l1}
"""


def test_a_multilabel_file_comes_back_as_it_was_written() -> None:
    found = ensemble_file.parse(LABELS, "fashion.yaml", ensemble_file.architectures())
    assert found.task == "multilabel"
    assert found.members["frequent"].labels == LabelRange(least=500)
    assert found.members["rare"].labels == LabelRange(most=499)
    assert ensemble_file.parse(ensemble_file.render(found), "again", ensemble_file.architectures()) == found
    assert from_plain(json.loads(json.dumps(found.plain()))) == found
