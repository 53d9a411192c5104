from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import ensemble_file
from shared.domain import estimates
from shared.domain.estimates import Catalog, MemberRates
from tests.conftest import REPOSITORY

CATALOG = Catalog(products=7_069_896, images=12_371_293, bytes=59_000_000_000)
THIRD = ensemble_file.load(REPOSITORY / "ensembles" / "third-place-2017.yaml")


@st.composite
def trainings(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, str]]:
    """Members with their seconds, and some that start from an earlier one."""
    seconds = draw(st.lists(st.floats(0.5, 100.0), min_size=1, max_size=12))
    parents = {
        f"m{number}": f"m{draw(st.integers(0, number - 1))}" for number in range(1, len(seconds)) if draw(st.booleans())
    }
    return {f"m{number}": value for number, value in enumerate(seconds)}, parents


def longest_chain(seconds: dict[str, float], parents: dict[str, str]) -> float:
    def until(name: str) -> float:
        return seconds[name] + (until(parents[name]) if name in parents else 0.0)

    return max(map(until, seconds))


@given(trainings(), st.integers(1, 14))
def test_no_plan_beats_its_longest_chain_or_its_share_of_the_work(
    training: tuple[dict[str, float], dict[str, str]], devices: int
) -> None:
    seconds, parents = training
    found = estimates.makespan(seconds, parents, devices)
    chain, work = longest_chain(seconds, parents), sum(seconds.values())
    assert max(chain, work / devices) <= found * (1 + 1e-9)
    assert found <= (chain + work / devices) * (1 + 1e-9)  # Graham's bound of any list


@given(trainings())
def test_one_device_does_all_in_turn_and_enough_devices_wait_for_parents_only(
    training: tuple[dict[str, float], dict[str, str]],
) -> None:
    seconds, parents = training
    assert estimates.makespan(seconds, parents, 1) == pytest.approx(sum(seconds.values()))
    assert estimates.makespan(seconds, parents, len(seconds)) == pytest.approx(longest_chain(seconds, parents))


def test_the_longest_way_to_the_end_goes_first() -> None:
    seconds = {"short": 1.0, "other": 1.0, "parent": 1.0, "child": 4.0}
    assert estimates.makespan(seconds, {"child": "parent"}, 2) == 5.0


def test_what_a_member_takes() -> None:
    rates = MemberRates(training=100.0, scoring=1000.0, weights=400_000_000)
    found = estimates.plan_member(THIRD.members["M13"], THIRD, CATALOG, rates, 5270)
    assert (found.parent, found.pixels, found.epochs) == ("M09", 180, 13)
    assert found.holdout_images == round(12_371_293 * 0.05)
    assert found.training_images == round(12_371_293 * 0.95 * 0.95)
    assert found.training_seconds == found.training_images * 13 / 100
    assert found.holdout_seconds == found.holdout_images * 2 / 1000
    assert found.scoring_seconds == 12_371_293 * 2 / 1000  # plain and mirrored
    assert found.run_bytes == 400_000_000 + found.holdout_images * 2 * 5270 * 2
    assert found.training_bytes == 2 * 3 * 400_000_000
    assert found.seconds == found.training_seconds + found.holdout_seconds


def test_what_is_not_known_takes_nobody_knows_what() -> None:
    found = estimates.plan_member(THIRD.members["M01"], THIRD, CATALOG, MemberRates(scoring=10.0), None)
    assert found.holdout_seconds is not None
    assert (found.training_seconds, found.seconds, found.run_bytes, found.training_bytes) == (None,) * 4


def test_a_member_of_no_combination_scores_nothing() -> None:
    alone = replace(THIRD, combinations={"one": ("M14",)})
    assert estimates.plan_member(THIRD.members["M01"], alone, CATALOG, MemberRates(), None).scoring_seconds == 0


def test_a_blend_part_is_neither_learnt_nor_held_out() -> None:
    member = THIRD.members["M01"]
    blended = replace(member, split=replace(member.split, blend=0.5))
    found = estimates.plan_member(blended, THIRD, CATALOG, MemberRates(), None)
    assert found.holdout_images == round(12_371_293 * 0.5 * 0.05)


def test_a_share_is_learnt_and_all_is_held_out() -> None:
    found = estimates.plan_member(replace(THIRD.members["M01"], share=0.5), THIRD, CATALOG, MemberRates(), None)
    assert found.training_images == round(12_371_293 * 0.95 * 0.5 * 0.95)
    assert found.holdout_images == round(12_371_293 * 0.05)


def test_chunks_end_with_their_pack() -> None:
    packs = estimates.packs_of(CATALOG, 128 * 2**20)
    assert packs == 440
    found = estimates.plan_job(CATALOG, packs=packs, chunk_images=4096, message_chunks=4)
    assert (found.chunks, found.messages, found.rows) == (440 * 7, 770, 7_069_896)
    unknown = estimates.plan_job(replace(CATALOG, bytes=None), packs=None, chunk_images=4096, message_chunks=4)
    assert unknown.chunks == 3021
    assert estimates.packs_of(replace(CATALOG, bytes=None), 1) is None
