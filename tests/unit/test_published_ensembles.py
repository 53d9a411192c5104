"""The published systems' files: every network builds, has the size that was reported, answers and learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from shared import ensemble_file
from shared.domain import label_sets, taxonomy
from shared.domain.ensemble import Ensemble, Member
from tests.tiny_member import MEMBER
from workers.training.augment import EpochAugmentation
from workers.training.dataset import Images
from workers.training.device import Device
from workers.training.learner import Learner
from workers.training.objectives import ManyLabels
from workers.training.pictures import PictureBatch
from workers.vision.heads import freeze
from workers.vision.model import build, resolved
from workers.vision.shares import share

FILES = Path(__file__).parents[2] / "ensembles"
CLASSES = 5270
MILLIONS = {  # of parameters, with 1,000 classes
    "resnext101_32x4d": 44.18,
    "resnext101_64x4d": 83.46,
    "seresnext101_64x4d": 88.23,
    "dpn92": 37.67,
    "dpn98": 61.57,
    "dpn107": 86.92,
    "dpn131": 79.25,
    "densenet161": 28.68,
}


@pytest.fixture(scope="module")
def third_place() -> Ensemble:
    return ensemble_file.load(FILES / "third-place-2017.yaml")


@pytest.mark.parametrize("file", sorted(FILES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_file_is_valid_and_named_as_its_ensemble(file: Path) -> None:
    assert ensemble_file.load(file).name == file.stem


def test_third_place_has_its_members_splits_and_combinations(third_place: Ensemble) -> None:
    members = third_place.members
    assert {m.model for m in members.values()} == set(MILLIONS)
    assert [m.epochs for m in members.values()] == [23, 13, 13, 20, 20, 11, 15, 18, 15, 19, 15, 17, 13, 20]
    of_split = {name: [m.name for m in members.values() if m.split == s] for name, s in third_place.splits.items()}
    assert of_split["B"] == ["M09", "M12", "M13"]
    assert of_split["C"] == ["M01", "M02", "M03"]
    assert {name: len(of) for name, of in third_place.combinations.items()} == {
        "one": 1,
        "two": 2,
        "four": 4,
        "nine": 9,
        "eleven": 11,
        "all": 14,
    }
    assert third_place.default_combination == "all"
    assert members["M14"].batch_size == 384


def test_warm_starts_take_over_the_published_shares(third_place: Ensemble) -> None:
    members = third_place.members
    assert share(members["M11"], members["M10"]) == pytest.approx(0.14, abs=0.005)
    assert share(members["M13"], members["M09"]) == pytest.approx(0.95, abs=0.005)
    assert share(MEMBER, MEMBER) == 1


@pytest.mark.parametrize("model", MILLIONS)
def test_a_network_has_the_reported_parameters(model: str) -> None:
    with torch.device("meta"):
        module = build(model, 1000, 180)
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(
        MILLIONS[model], abs=0.006
    )


@pytest.mark.parametrize("name", [f"M{number:02}" for number in range(1, 15)])
def test_a_member_of_the_third_place_answers_and_learns(third_place: Ensemble, name: str) -> None:
    member = resolved(replace(third_place.members[name], batch_size=2), "float32")
    torch.manual_seed(1)
    module = build(member.model, CLASSES, member.input.size)
    before = module.get_classifier().weight.detach().clone()  # type: ignore[operator]

    loss = learn(member, module)

    assert 7 < loss < 12  # about log(5270) = 8.6, before it has learnt anything
    assert not torch.equal(before, module.get_classifier().weight)  # type: ignore[operator]
    with torch.inference_mode():
        answer = module.eval()(torch.zeros(1, 3, member.input.size, member.input.size))
    assert answer.shape == (1, CLASSES)
    assert torch.isfinite(answer).all()


THESIS = {  # millions of parameters and buffers, and of parameters that learn, as reported; None: not reported
    "inception-conv": (66.04, None),
    "efficientnet-conv": (113.33, 49.2),
    "efficientnet-pooled": (77.59, 15.14),
    "inception-flat": (194.5, None),
    "resnet-flat": (571.5, None),
}


@pytest.mark.parametrize("name", THESIS)
def test_a_network_of_the_thesis_has_the_reported_parameters(name: str) -> None:
    member = ensemble_file.load(FILES / "thesis-2022.yaml").members[name]
    with torch.device("meta"):
        module = build(member.model, CLASSES, member.input.size, member.head)
    freeze(module, member.trains)
    whole, learning = THESIS[name]
    assert sum(tensor.numel() for tensor in module.state_dict().values()) / 1e6 == pytest.approx(whole, abs=0.05)
    if learning is not None:
        learns = sum(one.numel() for one in module.parameters() if one.requires_grad) / 1e6
        assert learns == pytest.approx(learning, abs=0.05)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("thesis-2022", "inception-conv"),
        ("thesis-2022", "efficientnet-pooled"),
        ("thesis-2022", "xception-scratch"),
        ("two-phase-2017", "inception-phase1"),
        ("two-phase-2017", "xception"),
    ],
)
def test_a_network_of_the_other_systems_learns_what_it_is_to(file: str, name: str) -> None:
    member = resolved(replace(ensemble_file.load(FILES / f"{file}.yaml").members[name], batch_size=2), "float32")
    torch.manual_seed(1)
    module = build(member.model, CLASSES, member.input.size, member.head)
    freeze(module, member.trains)
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    assert np.isfinite(learn(member, module))
    changed = {name for name, one in module.named_parameters() if not torch.equal(one, before[name])}
    assert changed == {name for name, one in module.named_parameters() if one.requires_grad}


PUBLISHED = {
    f"{file.stem} {name}": (CLASSES if ensemble.task == "multiclass" else 228, member)
    for file in sorted(FILES.glob("*-20??*.yaml"))
    if not file.stem.endswith("-small")
    for ensemble in [ensemble_file.load(file)]
    for name, member in ensemble.members.items()
}


@pytest.mark.parametrize("which", PUBLISHED)
def test_every_network_of_the_published_systems_answers_at_its_size(which: str) -> None:
    classes, member = PUBLISHED[which]
    with torch.device("meta"):  # shapes alone
        module = build(member.model, classes, member.input.size, member.head)
        freeze(module, member.trains)
        answer = module.eval()(torch.zeros(2, 3, member.input.size, member.input.size))
    assert answer.shape == (2, classes)


LABELS = 228
FASHION = {  # millions of parameters, as reported
    "mobilenet": 3.46,
    "inception-small": 22.3,
    "xception-small": 21.3,
    "resnet-small": 26,
    "xception-large": 21.3,
}


def parameters(member: Member, labels: int) -> dict[str, int]:
    with torch.device("meta"):
        module = build(member.model, labels, member.input.size, member.head)
    return {name: one.numel() for name, one in module.named_parameters()}


@pytest.fixture(scope="module")
def fashion() -> Ensemble:
    return ensemble_file.load(FILES / "fashion-2018.yaml")


@pytest.mark.parametrize("name", FASHION)
def test_a_network_of_the_fashion_system_has_the_reported_parameters(fashion: Ensemble, name: str) -> None:
    whole = sum(parameters(fashion.members[name], LABELS).values()) / 1e6
    assert whole == pytest.approx(FASHION[name], abs=0.05 if FASHION[name] < 26 else 0.5)


def test_a_precomputed_head_beside_xception_has_the_reported_parameters(fashion: Ensemble) -> None:
    head = {
        name: count
        for name, count in parameters(fashion.members["xception-precomputed"], LABELS).items()
        if name.startswith("head.")
    }
    xception = parameters(fashion.members["xception-large"], LABELS)
    assert (sum(head.values()) + sum(xception.values())) / 1e6 == pytest.approx(23.7, abs=0.15)


def test_the_ensemble_of_the_fashion_system_has_the_parameters_that_its_file_tells(fashion: Ensemble) -> None:
    millions = [sum(parameters(fashion.members[name], LABELS).values()) / 1e6 for name in fashion.combinations["all"]]
    assert f"the eight of `all` here have {sum(millions):.1f} M" in (FILES / "fashion-2018.yaml").read_text()
    assert len(millions) == 8


def test_frequent_and_rare_labels_have_members_of_their_own(fashion: Ensemble) -> None:
    frequent, rare = (fashion.members[name].labels for name in fashion.combinations["added"])
    assert (frequent.least, frequent.most) == (100_000, 0)
    assert (rare.least, rare.most) == (500, 99_999)
    assert {member.labels.least for member in fashion.members.values()} == {500, 100_000}
    assert {member.input.fit for member in fashion.members.values()} == {"pad"}
    assert fashion.default_combination == "all"


@pytest.mark.parametrize("name", ["mobilenet-weighted", "inception-rare-phase1", "xception-precomputed"])
def test_a_network_of_the_fashion_system_learns_label_sets(fashion: Ensemble, name: str) -> None:
    member = resolved(replace(fashion.members[name], batch_size=2), "float32")
    table = taxonomy.build(range(LABELS), [("a", "b", str(number)) for number in range(LABELS)])
    sets = label_sets.build({1: (3, 7), 2: (7, 200)}, table)
    objective = ManyLabels(sets, range(100), np.full(LABELS, 2, np.float32), 0.0)
    torch.manual_seed(1)
    module = build(member.model, LABELS, member.input.size, member.head)
    freeze(module, member.trains)
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    loss = learn(member, module, np.array([0, 1]), objective)
    assert 0.5 < loss < 1.5  # about log 2, before it has learnt anything
    changed = {name for name, one in module.named_parameters() if not torch.equal(one, before[name])}
    assert changed == {name for name, one in module.named_parameters() if one.requires_grad}


SMALL = {
    f"{file.stem} {name}": (ensemble_file.load(file), name)
    for file in sorted(FILES.glob("*-20??-small.yaml"))
    for name in ensemble_file.load(file).members
}


@pytest.mark.parametrize("which", SMALL)
def test_each_network_of_the_small_files_learns_what_it_is_to(which: str) -> None:
    ensemble, name = SMALL[which]
    member = resolved(replace(ensemble.members[name], batch_size=2), "float32")
    table = taxonomy.build(range(81), [("a", "b", str(number)) for number in range(81)])
    sets = label_sets.build({1: (3, 7), 2: (7, 80)}, table)
    objective = ManyLabels(sets, range(81), np.ones(81, np.float32), 0.0) if ensemble.task == "multilabel" else None
    torch.manual_seed(member.seed)
    module = build(member.model, 81, member.input.size, member.head)
    freeze(module, member.trains)
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    assert np.isfinite(learn(member, module, np.array([0, 1]), objective))
    changed = {name for name, one in module.named_parameters() if not torch.equal(one, before[name])}
    learns = [name for name, one in module.named_parameters() if one.requires_grad]
    assert learns[-1] in changed  # of the answers; a block that begins as the identity learns from the second step
    assert changed <= set(learns)


@pytest.mark.parametrize("file", sorted(FILES.glob("*-20??-small.yaml")), ids=lambda file: file.stem)
def test_all_members_of_a_small_file_hold_out_the_same_products(file: Path) -> None:
    ensemble = ensemble_file.load(file)
    assert {member.seed for member in ensemble.members.values()} == {1}
    assert len({split.seed for split in ensemble.splits.values()}) == 1
    assert min(split.holdout for split in ensemble.splits.values()) == 0.2
    assert {member.init.kind for member in ensemble.members.values()} <= {"none", "member"}


def test_a_warm_start_below_another_head_is_not_called_a_low_share() -> None:
    for file, name in (("thesis-2022-small", "efficientnet-pooled"), ("fashion-2018-small", "precomputed")):
        members = ensemble_file.load(FILES / f"{file}.yaml").members
        assert share(members[name], members[members[name].init.name]) == 1


def learn(
    member: Member,
    module: torch.nn.Module,
    classes: npt.NDArray[np.int64] = np.array([17, 5000]),  # noqa: B008
    objective: ManyLabels | None = None,
) -> float:
    """The loss of one step on two pictures."""
    rows = np.arange(2)
    side = member.input.size
    noise = torch.Generator().manual_seed(3)
    pictures = list(torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=noise))
    if member.features == "stored":
        pictures = list(torch.rand(2, module.backbone.num_features, generator=noise).to(torch.float16))  # type: ignore[union-attr, call-overload]
    images = Images(("pack",), rows.astype(np.int32), rows, rows, rows, rows, classes, rows)
    learner = Learner(member, module, Device(torch.device("cpu"), "float32"), classes, objective=objective)
    learner.learn(
        [PictureBatch(rows, pictures, {})],
        2,
        EpochAugmentation(member.augment, images, 1, member.seed),
        step=0,
        rate=1e-4,
    )
    return learner.take_sums()[0] / 2


def test_no_child_was_started_from_a_parent_that_saw_its_holdout(third_place: Ensemble) -> None:
    for member in third_place.members.values():
        if member.init.kind == "member":
            assert third_place.members[member.init.name].split == member.split
