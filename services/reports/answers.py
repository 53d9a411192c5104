"""A job's outcomes of the labelled products as arrays: read page by page, a few bytes per product and combination."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from shared.domain.fits import DECISIONS, LEVEL_OF, SURE
from shared.domain.records import Outcome
from shared.labels import Labels

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

SOURCES = ("model", "image duplicate", "product duplicate")
NO_ANSWER = -1
"""Stands for the class, the source and the decision of a product that has an error."""
BEST = 5
_PAGE = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one combination says of n products."""

    class_index: Int32  # int32[n], NO_ANSWER where there is none
    probability: Float64  # float64[n] of that class, 0 where there is none
    among_best: Bool  # bool[n], whether the known class is among the `BEST` most probable that are stored
    decision: Int8  # int8[n], the place in DECISIONS, NO_ANSWER where there is none
    stop: Int32  # int32[n], the node of its level where a decision stops, NO_ANSWER for every other decision

    def take(self, rows: Int64) -> "Answers":
        """Those of these products."""
        return Answers(
            self.class_index[rows],
            self.probability[rows],
            self.among_best[rows],
            self.decision[rows],
            self.stop[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class LabelAnswers:
    """What one combination of a multilabel ensemble says of n products.

    An entry is a label that is answered, or that is of a probability above `SURE` and stored among the best; those of a
    product together, in the order of products.
    """

    class_index: Int32  # int32[n], the most probable label, answered or not; NO_ANSWER where there is an error
    whole: Bool  # bool[n], whether every label of a probability above `SURE` has an entry
    product: Int64  # int64[e], the row
    label: Int64  # int64[e]
    probability: Float64  # float64[e]
    answered: Bool  # bool[e]

    def take(self, rows: Int64) -> "LabelAnswers":
        """Those of these products, ascending."""
        place = np.full(len(self.class_index), -1)
        place[rows] = np.arange(len(rows))
        mine = place[self.product] >= 0
        return LabelAnswers(
            self.class_index[rows],
            self.whole[rows],
            place[self.product[mine]],
            self.label[mine],
            self.probability[mine],
            self.answered[mine],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Judged(Generic[A]):
    """n labelled products of a job by position; per combination what it says with duplicates and without."""

    product_id: Int64  # int64[n]
    label: Int64  # int64[n], the row of the labels that names the product
    known: Int64  # int64[n], the class that its label names, or the row of its label set
    source: Int8  # int8[n], the place in SOURCES, or NO_ANSWER
    with_duplicates: Mapping[str, A]
    without_duplicates: Mapping[str, A]  # no combination where decided products skipped the networks

    def __len__(self) -> int:
        return len(self.product_id)


class Columns(Protocol[A_co]):
    """The growing answers of one combination."""

    def add(self, prediction: Mapping[str, Any] | None, known: int) -> None:
        """What is stored of the next product, None for no answer, and what is known of it."""

    def answers(self) -> A_co:
        """As arrays."""


class CategoryColumns:
    """Of `Answers`."""

    def __init__(self) -> None:
        self.class_index, self.probability, self.among_best = array("i"), array("d"), array("b")
        self.decision, self.stop = array("b"), array("i")

    def add(self, prediction: Mapping[str, Any] | None, known: int) -> None:
        """See `Columns`."""
        self.class_index.append(NO_ANSWER if prediction is None else prediction["class_index"])
        self.probability.append(0.0 if prediction is None else prediction["probability"])
        best = () if prediction is None else prediction["top"][:BEST]
        self.among_best.append(any(index == known for index, _ in best))
        decision = "" if prediction is None else prediction.get("decision", "")
        self.decision.append(DECISIONS.index(decision) if decision else NO_ANSWER)
        level = LEVEL_OF.get(decision)
        self.stop.append(NO_ANSWER if prediction is None or level is None else prediction["nodes"][level][0])

    def answers(self) -> Answers:
        """See `Columns`."""
        return Answers(
            np.array(self.class_index, dtype=np.int32),
            np.array(self.probability, dtype=np.float64),
            np.array(self.among_best, dtype=np.bool_),
            np.array(self.decision, dtype=np.int8),
            np.array(self.stop, dtype=np.int32),
        )


class LabelColumns:
    """Of `LabelAnswers`."""

    def __init__(self, labels: int) -> None:
        """`labels`: how many there are."""
        self._labels = labels
        self.class_index, self.stored, self.least = array("i"), array("q"), array("d")
        self.product, self.label, self.probability, self.answered = array("q"), array("q"), array("d"), array("b")

    def add(self, prediction: Mapping[str, Any] | None, known: int) -> None:  # noqa: ARG002  # of the protocol
        """See `Columns`."""
        top = [] if prediction is None else prediction["top"]
        self.class_index.append(top[0][0] if top else NO_ANSWER)
        self.stored.append(len(top))
        self.least.append(top[-1][1] if top else 0.0)
        told = {} if prediction is None else dict(prediction["labels"])
        for label, probability in (told | {label: p for label, p in top if p > SURE}).items():
            self.product.append(len(self.class_index) - 1)
            self.label.append(label)
            self.probability.append(probability)
            self.answered.append(label in told)

    def answers(self) -> LabelAnswers:
        """See `Columns`."""
        stored, least = np.array(self.stored, dtype=np.int64), np.array(self.least, dtype=np.float64)
        return LabelAnswers(
            np.array(self.class_index, dtype=np.int32),
            # all others have 0 where fewer are stored than of another product, and there are no others where all are
            (least <= SURE) | (stored < stored.max(initial=0)) | (stored == self._labels),
            np.array(self.product, dtype=np.int64),
            np.array(self.label, dtype=np.int64),
            np.array(self.probability, dtype=np.float64),
            np.array(self.answered, dtype=np.bool_),
        )


def collect(
    outcomes: Iterable[Outcome],
    labels: Labels,
    known: Int64,
    combinations: Sequence[str],
    columns: Callable[[], Columns[A]],
    *,
    alone: bool,
) -> Judged[A]:
    """The outcomes (by position) of labelled products; `alone`: also what the networks say without duplicates.

    `known` int64[len(labels)] is what each label names, as in `Judged`. A product whose networks did not run has no
    answer without duplicates, as one with an error has none at all.
    """
    places, sources = array("q"), array("b")
    both, single = ({name: columns() for name in names} for names in (combinations, combinations if alone else ()))
    for outcome, place in _labelled(outcomes, labels):
        places.append(place)
        sources.append(NO_ANSWER if outcome.error else SOURCES.index(outcome.source))
        for of_names, predictions in ((both, outcome.predictions), (single, outcome.model_only)):
            for name, column in of_names.items():
                column.add(predictions.get(name), int(known[place]))
    label = np.array(places, dtype=np.int64)
    return Judged(
        product_id=labels.product_id[label],
        label=label,
        known=known[label],
        source=np.array(sources, dtype=np.int8),
        with_duplicates={name: column.answers() for name, column in both.items()},
        without_duplicates={name: column.answers() for name, column in single.items()},
    )


def _labelled(outcomes: Iterable[Outcome], labels: Labels) -> Iterator[tuple[Outcome, int]]:
    """Outcomes of labelled products, each with its row of the labels."""
    remaining = iter(outcomes)
    while page := list(islice(remaining, _PAGE)):
        ids = np.array([outcome.product for outcome in page], dtype=np.int64)
        place = np.minimum(np.searchsorted(labels.product_id, ids), len(labels) - 1)
        for row in np.flatnonzero(labels.product_id[place] == ids):
            yield page[row], int(place[row])
