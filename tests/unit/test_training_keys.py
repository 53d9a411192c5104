import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.ensemble import Augmentation, Schedule
from shared.domain.errors import BadInputError
from shared.training_keys import AUGMENTATIONS, augment, render_augment, render_schedule, schedule
from shared.yaml_nodes import read


def schedule_of(text: str) -> Schedule:
    return schedule(read("a.yaml", f"member:\n  schedule: {text}").mapping()["member"].mapping()["schedule"])


def augment_of(text: str) -> tuple[Augmentation, ...]:
    return augment(read("a.yaml", f"member:\n  augment: {text}").mapping()["member"].mapping()["augment"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{kind: steps, rates: {11: 2.0e-5, 1: 1e-4}, warmup: 0.5}",
            Schedule(kind="steps", rates=((1, 1e-4), (11, 2e-5)), warmup=0.5),
        ),
        ("{kind: cosine, rate: 1e-3}", Schedule(kind="cosine", rate=1e-3)),
        ("{rate: 1, floor: 1, warmup: 2, kind: cosine}", Schedule(kind="cosine", rate=1.0, floor=1.0, warmup=2.0)),
        ("{kind: polynomial, rate: 1e-3}", Schedule(kind="polynomial", rate=1e-3)),
        (
            "{kind: polynomial, rate: 1e-3, power: 2, floor: 1e-6}",
            Schedule(kind="polynomial", rate=1e-3, power=2.0, floor=1e-6),
        ),
        (
            "{kind: exponential, rate: 1e-3, decay: 0.9, warmup: 1}",
            Schedule(kind="exponential", rate=1e-3, decay=0.9, warmup=1.0),
        ),
        (
            "{kind: cyclic, rate: 1e-3, floor: 1e-5, cycle: 4, warmup: 1}",
            Schedule(kind="cyclic", rate=1e-3, floor=1e-5, cycle=4.0, warmup=1.0),
        ),
        (
            "{kind: cyclic_exponential, rate: 1e-3, cycle: 4, decay: 1}",
            Schedule(kind="cyclic_exponential", rate=1e-3, cycle=4.0, decay=1.0),
        ),
        (
            "{kind: plateau, rate: 1e-3, factor: 0.3, patience: 2, floor: 1e-6, warmup: 1}",
            Schedule(kind="plateau", rate=1e-3, factor=0.3, patience=2, floor=1e-6, warmup=1.0),
        ),
        ("{kind: plateau, rate: 1e-3, patience: 0}", Schedule(kind="plateau", rate=1e-3, factor=0.1, patience=0)),
    ],
)
def test_a_schedule_is_what_its_keys_say(text: str, expected: Schedule) -> None:
    assert schedule_of(text) == expected
    assert schedule_of(yaml.safe_dump(render_schedule(expected), default_flow_style=True)) == expected


def test_a_rendered_schedule_has_every_key_of_its_kind_and_no_other() -> None:
    assert render_schedule(Schedule(kind="plateau", rate=1e-3, patience=2)) == {
        "kind": "plateau",
        "rate": 1e-3,
        "patience": 2,
        "factor": 0.1,
        "floor": 0.0,
        "warmup": 0.0,
    }
    assert render_schedule(Schedule(kind="steps", rates=((1, 1.0),))) == {
        "kind": "steps",
        "rates": {1: 1.0},
        "warmup": 0.0,
    }


REFUSED_SCHEDULES = [
    ("{rate: 1}", "schedule: the key 'kind' is missing", "one of steps, cosine, polynomial"),
    ("{kind: polinomial, rate: 1}", "unknown value 'polinomial'", "did you mean 'polynomial'?"),
    ("{kind: exp, rate: 1}", "unknown value 'exp'", "one of steps, cosine"),
    ("cosine", "expected a mapping", "write a mapping"),
    ("{kind: cosine, rate: 1, cycle: 4}", "schedule.cycle: a schedule of kind cosine has no 'cycle'", "it has rate"),
    ("{kind: steps, rates: {1: 1}, rate: 1}", "a schedule of kind steps has no 'rate'", "it has rates, warmup"),
    ("{kind: cosine, rate: 1, warmpu: 1}", "unknown key 'warmpu'", "did you mean 'warmup'?"),
    ("{kind: plateau, rate: 1}", "the key 'patience' is missing", "add 'patience'"),
    ("{kind: exponential, rate: 1}", "the key 'decay' is missing", "add 'decay'"),
    ("{kind: cyclic, rate: 1}", "the key 'cycle' is missing", "add 'cycle'"),
    ("{kind: cyclic_exponential, rate: 1, cycle: 2}", "the key 'decay' is missing", "add 'decay'"),
    ("{kind: polynomial, power: 1}", "the key 'rate' is missing", "add 'rate'"),
    ("{kind: steps}", "the key 'rates' is missing", "add 'rates'"),
    ("{kind: steps, rates: {}}", "rates start with epoch 1", "write rates: {1: 1.0e-4, ...}"),
    ("{kind: steps, rates: {2: 1}}", "rates start with epoch 1", "write rates: {1: 1.0e-4, ...}"),
    ("{kind: steps, rates: {0: 1, 1: 1}}", "'0' is no epoch", "epochs count from 1"),
    ("{kind: steps, rates: {1: 1, 01: 2}}", "epoch 1 is repeated", "keep one of them"),
    ("{kind: cosine, rate: 0}", "schedule.rate: 0 is out of range", "use above 0"),
    ("{kind: cosine, rate: 1e-3, floor: 1e-2}", "1e-2 is out of range", "at most 0.001"),
    ("{kind: cosine, rate: fast}", "expected a number", "write a number"),
    ("{kind: cosine, rate: 1, warmup: -1}", "-1 is out of range", "use 0 or more"),
    ("{kind: polynomial, rate: 1, power: 0}", "0 is out of range", "use above 0"),
    ("{kind: exponential, rate: 1, decay: 1.1}", "1.1 is out of range", "use above 0, at most 1"),
    ("{kind: exponential, rate: 1, decay: 0}", "0 is out of range", "use above 0, at most 1"),
    ("{kind: cyclic, rate: 1, cycle: 0}", "0 is out of range", "use above 0"),
    ("{kind: cyclic, rate: 1, cycle: 2, warmup: 1}", "a cycle begins at its floor, and this one is 0", "add a floor"),
    ("{kind: plateau, rate: 1, patience: 2, factor: 1}", "1 is out of range", "use above 0, below 1"),
    ("{kind: plateau, rate: 1, patience: 1.5}", "expected a whole number", "write a whole number"),
]


@pytest.mark.parametrize(("text", "reason", "remedy"), REFUSED_SCHEDULES, ids=[case[0] for case in REFUSED_SCHEDULES])
def test_a_mistake_in_a_schedule_is_refused(text: str, reason: str, remedy: str) -> None:
    with pytest.raises(BadInputError) as caught:
        schedule_of(text)
    _expect(caught.value, reason, remedy)


def test_augmentations_keep_the_order_of_the_file() -> None:
    assert augment_of("[hflip, {rotate: 15}, {crop: 0.8}, vflip, trivial]") == (
        Augmentation(name="hflip"),
        Augmentation(name="rotate", amount=15.0),
        Augmentation(name="crop", amount=0.8),
        Augmentation(name="vflip"),
        Augmentation(name="trivial"),
    )
    assert augment_of("[]") == ()


REFUSED_AUGMENTATIONS = [
    ("hflip", "expected a list", "write a list"),
    ("[rotat]", "augment[0]: unknown value 'rotat'", "did you mean 'rotate'?"),
    ("[mixup]", "unknown value 'mixup'", "one of hflip, vflip, rotate"),
    ("[{rotation: 15}]", "unknown key 'rotation'", "did you mean 'rotate'?"),
    ("[hflip, rotate]", "augment[1]: 'rotate' needs an amount (degrees, either way)", "write {rotate: 15}"),
    ("[{hflip: 0.5}]", "augment[0].hflip: 'hflip' takes no amount", "write hflip alone"),
    ("[{rotate: 15, shear: 10}]", "each entry is one augmentation", "write [hflip, {rotate: 15}]"),
    ("[{}]", "each entry is one augmentation", "write [hflip, {rotate: 15}]"),
    ("[hflip, {rotate: 1}, hflip]", "augment[2]: the augmentation 'hflip' is named twice", "name it once"),
    ("[{rotate: 181}]", "181 is out of range", "use above 0, at most 180"),
    ("[{shear: 46}]", "46 is out of range", "at most 45"),
    ("[{translate: 0.6}]", "0.6 is out of range", "at most 0.5"),
    ("[{crop: 1}]", "1 is out of range", "use above 0, below 1"),
    ("[{brightness: 0}]", "0 is out of range", "use above 0, at most 1"),
    ("[{contrast: 1.5}]", "1.5 is out of range", "at most 1"),
    ("[{saturation: nan}]", "nan is out of range", "at most 1"),
    ("[{hue: 0.6}]", "0.6 is out of range", "at most 0.5"),
    ("[{erase: 25}]", "25 is out of range", "at most 1"),
    ("[{rotate: [10, 20]}]", "expected a number, found a list", "write a number"),
]


@pytest.mark.parametrize(
    ("text", "reason", "remedy"), REFUSED_AUGMENTATIONS, ids=[case[0] for case in REFUSED_AUGMENTATIONS]
)
def test_a_mistake_in_augment_is_refused(text: str, reason: str, remedy: str) -> None:
    with pytest.raises(BadInputError) as caught:
        augment_of(text)
    _expect(caught.value, reason, remedy)


def _expect(error: BadInputError, reason: str, remedy: str) -> None:
    assert (error.where, error.position) == ("a.yaml", "line 2")
    assert reason in error.reason
    assert remedy in error.remedy
    assert "\n" not in str(error)


def test_examples_in_remedies_are_accepted() -> None:
    for name, amount in AUGMENTATIONS.items():
        text = name if amount is None else f"{{{name}: {amount.example:g}}}"
        assert [one.name for one in augment_of(f"[{text}]")] == [name]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(list(AUGMENTATIONS)), unique=True), st.floats(0.001, 0.999))
def test_what_is_rendered_parses_to_the_same(names: list[str], share: float) -> None:
    spans = [(name, AUGMENTATIONS[name]) for name in names]
    found = tuple(Augmentation(name=n, amount=0.0 if span is None else span.high * share) for n, span in spans)
    assert augment_of(yaml.safe_dump(render_augment(found), default_flow_style=True)) == found
