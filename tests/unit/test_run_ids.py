"""A run's id stays what it was when it was first computed: whoever has trained once does not train again."""

from pathlib import Path

import pytest

from shared import ensemble_file
from shared.domain.definitions import ensemble_definition, run_definition, run_id
from shared.domain.digests import digest
from shared.domain.ensemble import Augmentation, Member, member_from_plain

FILE = """
name: ids
splits: {A: {seed: 12648430, holdout: 0.1}}
defaults: {split: A, epochs: 8, batch_size: 32, schedule: {kind: cosine, rate: 1.0e-3, warmup: 1}}
members:
  resnet18: {model: resnet18, input: {size: 96}}
  more: {model: resnet18, input: {size: 96}, %s}
means: {order: [views, images, members]}
"""


def member(more: str, name: str = "more") -> Member:
    return ensemble_file.parse(FILE % more, "ids.yaml", {"resnet18": ()}).members[name]


def definition(of: Member) -> dict[str, object]:
    return run_definition(of, dataset="d", taxonomy="t", parent="")


def test_ids_of_the_first_release_still_hold() -> None:
    demo = ensemble_file.load(Path(__file__).parents[2] / "ensembles" / "grocery-small.yaml")
    found = [run_id(definition(of)) for of in demo.members.values()]
    assert found == ["c3f87f5e2efbd24d", "6504bf2d6009503d"]
    assert digest(ensemble_definition(demo)) == "6ca3c7a611c635db"  # so trainings go on and versions stay the same too


@pytest.mark.parametrize(
    "more",
    [
        "optimizer: sgd, momentum: 0.8",
        "accumulate: 2",
        "clip_norm: 1.0",
        "ema: 0.99",
        "plain_epochs: 1",
        "share: 0.5",
        "early_stopping: {patience: 2}",
        "head: {kind: conv1x1, channels: 8, dropout: 0.5, batch_norm: true}",
        "head: max",
        "trains: [head, layer4]",
        "augment: [hflip, {rotate: 10}]",
        "schedule: {kind: polynomial, rate: 1.0e-3, power: 2}",
        "images: 1",
        "levels: {2: 0.5}",
        "joint: tiled",
    ],
)
def test_every_setting_makes_another_run_and_comes_back_from_its_definition(more: str) -> None:
    of = member(more)
    assert run_id(definition(of)) != run_id(definition(member(f"seed: {of.seed}")))
    plain = definition(of)["member"]
    assert isinstance(plain, dict)
    assert member_from_plain({"name": "more", **plain}) == of


def test_bare_names_of_augmentations_are_read() -> None:
    plain = definition(member("seed: 1"))["member"]
    assert isinstance(plain, dict)
    assert plain["augment"] == ["hflip"]
    assert member_from_plain({"name": "more", **plain}).augment == (Augmentation("hflip"),)


def test_only_joint_members_are_trained_by_the_second_version() -> None:
    assert [definition(member(more))["training_version"] for more in ("seed: 1", "images: 1", "joint: tiled")] == [
        1,
        1,
        2,
    ]
