from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import ensemble_rules as rules
from shared.domain.definitions import run_definition, run_id
from shared.domain.ensemble import Init, Input, Member, Schedule, Split

SPLIT = Split(seed=1, holdout=0.1)
MEMBER = Member(
    name="m",
    model="resnet18",
    input=Input(size=64),
    split=SPLIT,
    epochs=1,
    seed=1,
    batch_size=8,
    optimizer="nadam",
    weight_decay=0.0,
    label_smoothing=0.0,
    augment=(),
    schedule=Schedule(rate=0.1),
    precision="auto",
    init=Init(),
)


def members(parent_of: dict[str, str], names: list[str]) -> dict[str, Member]:
    inits = {name: Init(kind="member", name=parent_of[name]) if name in parent_of else Init() for name in names}
    return {name: replace(MEMBER, name=name, init=inits[name]) for name in names}


@st.composite
def forests(draw: st.DrawFn) -> dict[str, Member]:
    count = draw(st.integers(1, 8))
    parent_of = {f"m{i}": f"m{p}" for i in range(1, count) if (p := draw(st.integers(-1, i - 1))) >= 0}
    return members(parent_of, draw(st.permutations([f"m{i}" for i in range(count)])))


@settings(max_examples=60)
@given(forests())
def test_parents_train_before_their_children_whatever_the_files_order(forest: dict[str, Member]) -> None:
    order = rules.training_order(forest)
    assert sorted(order) == sorted(forest)
    assert all(order.index(parent) < order.index(child) for child, parent in rules.parents(forest).items())
    assert rules.cycle(rules.parents(forest)) == ()


@settings(max_examples=40)
@given(forests(), st.data())
def test_a_loop_is_found_wherever_it_is(forest: dict[str, Member], data: st.DataObject) -> None:
    parent_of = rules.parents(forest)
    start = data.draw(st.sampled_from(sorted(forest)))
    chain = (start, *rules.ancestors(start, parent_of))
    loop = rules.cycle(parent_of | {chain[-1]: start})
    assert loop[0] == loop[-1]
    assert set(loop) == set(chain)


def test_what_a_grandparent_saw_counts() -> None:
    family = members({"child": "parent", "parent": "old"}, ["old", "parent", "child"])
    assert rules.saw_holdout("child", family) == ""
    family["old"] = replace(family["old"], split=replace(SPLIT, seed=2))
    assert rules.saw_holdout("child", family) == "old"


def test_dropping_duplicate_images_leaves_the_holdout_the_same() -> None:
    family = members({"child": "parent"}, ["parent", "child"])
    family["parent"] = replace(family["parent"], split=replace(SPLIT, drop_duplicate_images=True))
    assert rules.saw_holdout("child", family) == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a", "...", "d"], "abcd"), (["b", "...", "c"], "bc"), (["d", "a"], "da"), (["a", "...", "c", "d"], "abcd")],
)
def test_ranges(names: list[str], expected: str) -> None:
    assert rules.expand(names, list("abcd")) == tuple(expected)


def test_names_do_not_count_in_a_runs_id() -> None:
    def identity(member: Member, parent: str = "p") -> str:
        return run_id(run_definition(member, dataset="d", taxonomy="t", parent=parent))

    child = replace(MEMBER, init=Init(kind="member", name="first"))
    assert identity(MEMBER) == identity(replace(MEMBER, name="other"))
    assert identity(child) == identity(replace(child, init=Init(kind="member", name="renamed")))
    assert identity(child) != identity(child, parent="q")
    assert identity(MEMBER) != identity(replace(MEMBER, seed=2))
