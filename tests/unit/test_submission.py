import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import BadInputError
from shared.domain.records import Outcome
from shared.domain.submission import answers


def rows(*arguments: Any, **options: Any) -> Iterator[tuple[int, int]]:
    return ((answer.product, answer.category_id) for answer in answers(*arguments, **options))


def answer(product: int, position: int, category: int) -> Outcome:
    return Outcome(
        job="j",
        product=product,
        position=position,
        chunk="c",
        predictions={"one": {"category_id": -category}, "all": {"category_id": category}},
    )


def failure(product: int, position: int) -> Outcome:
    return Outcome(job="j", product=product, position=position, chunk="c", error="no image can be read")


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[int], list[Outcome], list[int]]:
    """Ids in dump order, the outcomes of a job that may lack some, and the ids without an answer."""
    products = draw(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=12))
    fates = draw(st.lists(st.sampled_from("aaaef"), min_size=len(products), max_size=len(products)))
    outcomes = [
        answer(product, position, position + 100) if fate == "a" else failure(product, position)
        for position, (product, fate) in enumerate(zip(products, fates, strict=True))
        if fate != "f"
    ]
    return products, outcomes, [p for p, fate in zip(products, fates, strict=True) if fate != "a"]


@given(jobs())
@settings(max_examples=100)
def test_a_submission_is_complete_and_in_dump_order_or_refused(job: tuple[list[int], list[Outcome], list[int]]) -> None:
    products, outcomes, lacking = job
    filled = list(rows(products, outcomes, "all", where="job j", fill=7))
    assert filled == [(p, 7 if p in lacking else position + 100) for position, p in enumerate(products)]
    if not lacking:
        assert list(rows(products, outcomes, "all", where="job j")) == filled
        return
    with pytest.raises(BadInputError) as refusal:
        list(rows(products, outcomes, "all", where="job j"))
    named = ", ".join(str(p) for p in lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    assert f"{len(lacking)} of {len(products)} products lack an answer: {named};" in str(refusal.value)


def test_the_combination_chooses_the_answer() -> None:
    assert list(rows([5], [answer(5, 0, 3)], "one", where="job j")) == [(5, -3)]


def test_an_unknown_combination_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match="there is no combination 'two'; use any of one, all"):
        list(rows([5], [answer(5, 0, 3)], "two", where="job j"))


LARGE = 2**40


@pytest.mark.parametrize(
    ("products", "twice"), [([5, 6, 5], 5), ([5, 6, LARGE, 5], 5), ([LARGE, 6, -LARGE, LARGE], LARGE)]
)
def test_a_product_that_comes_twice_is_refused(products: list[int], twice: int) -> None:
    with pytest.raises(BadInputError, match=f"product {twice} comes twice"):
        list(rows(products, [], "all", where="job j", fill=0))
    assert list(rows(products[:-1], [], "all", where="job j", fill=0)) == [(one, 0) for one in products[:-1]]


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param([answer(5, 0, 1), answer(5, 0, 1)], id="the same outcome again"),
        pytest.param([answer(6, 1, 1), answer(5, 0, 1)], id="out of order"),
        pytest.param([answer(6, 0, 1)], id="another product's place"),
        pytest.param([answer(5, 0, 1), answer(6, 1, 1), answer(7, 2, 1)], id="beyond the dataset"),
    ],
)
def test_outcomes_out_of_place_are_refused_even_with_a_fill(outcomes: list[Outcome]) -> None:
    with pytest.raises(BadInputError, match="comes twice or is out of place"):
        list(rows([5, 6], outcomes, "all", where="job j", fill=1))


def test_rows_are_made_one_by_one() -> None:
    def endless() -> object:
        position = 0
        while True:
            yield dataclasses.replace(answer(position, position, 2))
            position += 1

    stream = rows(iter(range(10**9)), endless(), "all", where="job j")
    assert [next(stream) for _ in range(3)] == [(0, 2), (1, 2), (2, 2)]
