"""Label sets: what a product of a multilabel dataset has in the place of a category.

A set is stored as one number, `set_id`, which its labels alone decide, wherever a category id would be: indexes, rows,
splits, duplicate tables and holdout files know no difference. Which labels a set has is said once per dataset.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.domain.duplicates import Overrides
from shared.domain.keys import starts
from shared.domain.taxonomy import Taxonomy

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

Labels = tuple[int, ...]
"""Category ids of one product, distinct and ascending."""


def canonical(labels: Iterable[int]) -> Labels:
    """Labels in any order, perhaps repeated, as a set is written."""
    return tuple(sorted(set(labels)))


def set_id(labels: Labels) -> int:
    """The number of a set, 0 up to 2^63: the first bits of the BLAKE2b of its labels.

    Two sets of one dataset with one number are refused where the dataset is made (`merge`).
    """
    content = np.array(labels, dtype="<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 1


def merge(parts: Iterable[Mapping[int, Labels]]) -> dict[int, Labels]:
    """All sets by number, ascending. Raises ValueError for two sets of one number."""
    found: dict[int, Labels] = {}
    for part in parts:
        for number, labels in part.items():
            if found.setdefault(number, labels) != labels:
                raise ValueError(f"the label sets {found[number]} and {labels} have one number")
    return dict(sorted(found.items()))


class Classes(Protocol):
    """What the category ids of a dataset's products name: rows of its category table, or its label sets."""

    @property
    def category_ids(self) -> Int64:
        """int64[c]."""

    @property
    def classes(self) -> int:
        """How many."""

    def index_of(self, ids: Int64) -> Int64:
        """The row of each id, -1 for one that is not there: int64[n] -> int64[n]."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """s distinct sets by ascending number. The labels of set i are rows `start[i]` up to `start[i + 1]` of `label`."""

    category_ids: Int64  # int64[s], the sets' numbers
    start: Int64  # int64[s + 1]
    label: Int32  # int32[e], class indexes of the category table, ascending within a set
    labels: int  # how many the category table has

    @property
    def classes(self) -> int:
        """Number of sets."""
        return len(self.category_ids)

    def index_of(self, ids: Int64) -> Int64:
        """The row of each set's number, -1 for one that is not here: int64[n] -> int64[n]."""
        place = np.minimum(np.searchsorted(self.category_ids, ids), self.classes - 1)
        return np.where(self.category_ids[place] == ids, place, -1)

    def of(self, row: int) -> list[int]:
        """The class indexes of one set."""
        found: list[int] = self.label[self.start[row] : self.start[row + 1]].tolist()
        return found

    def entries(self, rows: npt.NDArray[np.integer]) -> tuple[Int64, Int32]:
        """All labels of the sets at `rows` ([n], -1 for none): the place in `rows`, and the class index, of each."""
        safe = np.maximum(rows, 0)
        lengths = np.where(rows >= 0, self.start[safe + 1] - self.start[safe], 0)
        place = np.repeat(np.arange(len(rows)), lengths)
        offset = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return place, self.label[self.start[safe][place] + offset]

    def dense(self, rows: npt.NDArray[np.integer]) -> Float32:
        """1 where the set at each of `rows` ([n], -1 for none) has a label, else 0: float32[n, labels]."""
        found = np.zeros((len(rows), self.labels), dtype=np.float32)
        found[self.entries(rows)] = 1
        return found

    def spread(self, overrides: Overrides) -> Overrides:
        """Overrides whose entries are sets as overrides whose entries are labels, which add up: one that is in several
        sets gets the sum of their values."""
        place, label = self.entries(overrides.class_index)
        images = len(overrides.known)
        image = np.repeat(np.arange(images), np.diff(overrides.start))[place]
        order = np.lexsort((label, image))
        image, label, value = image[order], label[order], overrides.value[place][order]
        first = np.flatnonzero(starts(image, label))
        sums = np.add.reduceat(value, first) if len(first) else value
        start = np.searchsorted(image[first], np.arange(images + 1))
        return replace(overrides, start=start.astype(np.int64), class_index=label[first], value=sums)


def build(sets: Mapping[int, Labels], taxonomy: Taxonomy) -> LabelSets:
    """The sets of `merge`, at least one, over the category table that has all their labels."""
    lengths = [len(labels) for labels in sets.values()]
    ids = np.array([label for labels in sets.values() for label in labels], dtype=np.int64)
    label = taxonomy.index_of(ids)
    order = np.lexsort((label, np.repeat(np.arange(len(sets)), lengths)))
    return LabelSets(
        category_ids=np.array(list(sets), dtype=np.int64),
        start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        label=label[order].astype(np.int32),
        labels=taxonomy.classes,
    )
