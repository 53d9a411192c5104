"""A job's outcomes of the labelled products as arrays: read page by page, a few bytes per product and combination."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.records import Outcome
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

SOURCES = ("model", "image duplicate", "product duplicate")
NO_ANSWER = -1
"""Stands for the class, and for the source, of a product that has an error."""
BEST = 5
_PAGE = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one combination says of n products."""

    class_index: Int32  # int32[n], NO_ANSWER where there is none
    probability: Float64  # float64[n] of that class, 0 where there is none
    among_best: Bool  # bool[n], whether the known class is among the `BEST` most probable that are stored

    def take(self, keep: Bool | Int64) -> "Answers":
        """The products where `keep` (bool[n]) holds, or these rows."""
        return Answers(self.class_index[keep], self.probability[keep], self.among_best[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """n labelled products of a job by position; per combination what it says with duplicates and without."""

    product_id: Int64  # int64[n]
    label: Int64  # int64[n], the row of the labels that names the product
    known: Int32  # int32[n], the class that its label names
    source: Int8  # int8[n], the place in SOURCES, or NO_ANSWER
    with_duplicates: Mapping[str, Answers]
    without_duplicates: Mapping[str, Answers]  # no combination where decided products skipped the networks

    def __len__(self) -> int:
        return len(self.product_id)


class _Columns:
    """The growing columns of one combination."""

    def __init__(self) -> None:
        self.class_index, self.probability, self.among_best = array("i"), array("d"), array("b")

    def add(self, prediction: Mapping[str, Any] | None, known: int) -> None:
        self.class_index.append(NO_ANSWER if prediction is None else prediction["class_index"])
        self.probability.append(0.0 if prediction is None else prediction["probability"])
        best = () if prediction is None else prediction["top"][:BEST]
        self.among_best.append(any(index == known for index, _ in best))

    def answers(self) -> Answers:
        return Answers(
            np.array(self.class_index, dtype=np.int32),
            np.array(self.probability, dtype=np.float64),
            np.array(self.among_best, dtype=np.bool_),
        )


def collect(
    outcomes: Iterable[Outcome], labels: Labels, taxonomy: Taxonomy, combinations: Sequence[str], *, alone: bool
) -> Judged:
    """The outcomes (by position) of labelled products; `alone`: also what the networks say without duplicates.

    Every category of `labels` is in the taxonomy. A product whose networks did not run has no answer without
    duplicates, as one with an error has none at all.
    """
    classes = taxonomy.index_of(labels.category_id)
    places, sources = array("q"), array("b")
    both, single = ({name: _Columns() for name in names} for names in (combinations, combinations if alone else ()))
    for outcome, place in labelled(outcomes, labels):
        places.append(place)
        sources.append(NO_ANSWER if outcome.error else SOURCES.index(outcome.source))
        for columns, predictions in ((both, outcome.predictions), (single, outcome.model_only)):
            for name, column in columns.items():
                column.add(predictions.get(name), int(classes[place]))
    label = np.array(places, dtype=np.int64)
    return Judged(
        product_id=labels.product_id[label],
        label=label,
        known=classes[label].astype(np.int32),
        source=np.array(sources, dtype=np.int8),
        with_duplicates={name: columns.answers() for name, columns in both.items()},
        without_duplicates={name: columns.answers() for name, columns in single.items()},
    )


def labelled(outcomes: Iterable[Outcome], labels: Labels) -> Iterator[tuple[Outcome, int]]:
    """Outcomes of labelled products, each with its row of the labels."""
    remaining = iter(outcomes)
    while page := list(islice(remaining, _PAGE)):
        ids = np.array([outcome.product for outcome in page], dtype=np.int64)
        place = np.minimum(np.searchsorted(labels.product_id, ids), len(labels) - 1)
        for row in np.flatnonzero(labels.product_id[place] == ids):
            yield page[row], int(place[row])
