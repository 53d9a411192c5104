"""The competition's format: one row (_id, category_id) per product, in dump order, complete or refused."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from shared.domain.errors import BadInputError
from shared.domain.records import Outcome

HEADER = ("_id", "category_id")
NAMED = 3
"""Products named in a refusal."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One product's row. Without an outcome, or with one that is an error, `category_id` is what was filled in."""

    product: int
    category_id: int
    outcome: Outcome | None


def answers(
    products: Iterable[int],
    outcomes: Iterable[Outcome],
    combination: str,
    *,
    where: str,
    fill: int | None = None,
    start: int = 0,
) -> Iterator[Answer]:
    """One answer per product of the dataset, in the order of `products`.

    `products` are all ids in dump order from place `start` on; `outcomes` those of one job from there, by ascending
    position (the place in dump order).
    A product without an outcome, or with an error, gets the category `fill`; without it, BadInputError (whose place is
    `where`, the job) is raised once all are read, with how many lack an answer and the first of them. Raises it too
    for a product that comes twice. What was yielded before an error must be thrown away: write to a place that is
    renamed when complete.
    """
    seen = array("i")
    lacking: list[int] = []
    for product, outcome in _joined(products, outcomes, where, start):
        try:
            seen.append(product)
        except OverflowError:  # an id of 64 bits: from here on all take as many
            seen = array("q", seen)
            seen.append(product)
        category = fill if outcome is None or outcome.error else _category(outcome, combination, where)
        if category is None:
            lacking.append(product)
        else:
            yield Answer(product, category, outcome)
    _check_distinct(seen, where)
    if lacking:
        named = ", ".join(str(product) for product in lacking[:NAMED]) + (", ..." if len(lacking) > NAMED else "")
        reason = f"{len(lacking)} of {len(seen)} products lack an answer: {named}"
        raise BadInputError(where, reason, remedy="see the job's errors, or give them one category with --fill")


def _joined(
    products: Iterable[int], outcomes: Iterable[Outcome], where: str, start: int
) -> Iterator[tuple[int, Outcome | None]]:
    """Each product with its outcome, by position."""
    remaining = iter(outcomes)
    outcome = next(remaining, None)
    for position, product in enumerate(products, start):
        if outcome is None or outcome.position > position:
            yield product, None
            continue
        if outcome.position < position or outcome.product != product:
            break
        yield product, outcome
        outcome = next(remaining, None)
    if outcome is not None:
        reason = (
            f"the outcome of product {outcome.product} at position {outcome.position} comes twice or is out of place"
        )
        raise BadInputError(where, reason, remedy="take the outcomes of one job on this dataset, by position")


def _category(outcome: Outcome, combination: str, where: str) -> int:
    prediction = outcome.predictions.get(combination)
    if prediction is None:
        reason = f"there is no combination '{combination}'"
        raise BadInputError(where, reason, remedy=f"use any of {', '.join(outcome.predictions)}")
    return int(prediction["category_id"])


def _check_distinct(products: "array[int]", where: str) -> None:
    """Sorts them where they stand: they are the one thing that grows with a submission."""
    ids = np.frombuffer(products, dtype=products.typecode) if products else np.zeros(0, dtype=np.int64)
    ids.sort()
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise BadInputError(where, f"product {repeated[0]} comes twice", remedy="ingest the dump again")
