"""Label files: a CSV with the header `_id,category_id`, read whole into arrays; every refusal names file and line.

Of a multilabel dataset the header is `_id,category_ids`, and a field holds ids separated by spaces.
"""

import csv
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.domain.errors import BadInputError
from shared.domain.label_sets import Labels as LabelSet
from shared.domain.label_sets import canonical, set_id
from shared.domain.taxonomy import Taxonomy
from shared.packs import NO_CATEGORY, Int64

_COLUMNS = ("_id", "category_id")
_SETS = ("_id", "category_ids")
_SMALLEST, _LARGEST = -(2**63) + 1, 2**63 - 1  # the smallest int64 of all is NO_CATEGORY


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """n distinct products by ascending id, the category of each and the line of `where` that says so."""

    where: str
    product_id: Int64  # int64[n]
    category_id: Int64  # int64[n], NO_CATEGORY where the field is empty
    line: Int64  # int64[n]
    sets: Mapping[int, LabelSet] = field(default_factory=dict)  # by number, of a multilabel dataset

    def __len__(self) -> int:
        return len(self.product_id)

    def refuse(self, wrong: npt.NDArray[np.bool_], reason: str, remedy: str) -> None:
        """Raise BadInputError for the first line of the file where `wrong` (bool[n]) holds, if any.

        `reason` may name its {product} and {category}.
        """
        rows = np.flatnonzero(wrong)
        if len(rows):
            first = rows[self.line[rows].argmin()]
            words = reason.format(product=self.product_id[first], category=self.category_id[first])
            raise BadInputError(self.where, words, position=f"line {self.line[first]}", remedy=remedy)


def read(path: Path, taxonomy: Taxonomy, *, removals: bool = False, sets: bool = False) -> Labels:
    """The labels of a file; with `removals` a category may be empty. The same line twice is one label.

    `sets`: of a multilabel dataset; an empty field is the set of no label, or with `removals` no set. Raises
    BadInputError for a file that cannot be read or holds none, a line that is no label, a product with two categories,
    and a category that is not in the table.
    """
    where = str(path)
    reader = _Reader(where, removals, _SETS if sets else _COLUMNS)
    product, category, line = (np.frombuffer(column, dtype=np.int64) for column in reader.columns(path))
    labels = _distinct(where, product, category, line)
    labels = replace(labels, sets=reader.sets)
    if not len(labels):
        raise BadInputError(where, "no labels", remedy="one line per product below the header")
    known = set(taxonomy.category_ids.tolist())
    unknown = {number: [label for label in of_set if label not in known] for number, of_set in reader.sets.items()}
    wrong = np.isin(labels.category_id, [number for number, missing in unknown.items() if missing])
    if not sets:
        wrong = (labels.category_id != NO_CATEGORY) & (taxonomy.index_of(labels.category_id) < 0)
    words = "a category of its line is not in the table" if sets else "category {category} is not in the category table"
    labels.refuse(wrong, words, "use the table of the dataset")
    return labels


class _Reader:
    """Reads the two columns of a file, and with ids separated by spaces collects the sets."""

    def __init__(self, where: str, removals: bool, names: tuple[str, str]) -> None:
        self.sets: dict[int, LabelSet] = {}
        self._where = where
        self._removals = removals
        self._names = names

    def columns(self, path: Path) -> "tuple[array[int], array[int], array[int]]":
        """Product, category and line of each row: machine integers, as millions of Python objects would be too many."""
        products, categories, lines = array("q"), array("q"), array("q")
        where = self._where
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                first, second = self._places(next(reader, []))
                for row in reader:
                    if row:
                        product, category = self._label(row, first, second, reader.line_num)
                        products.append(product)
                        categories.append(category)
                        lines.append(reader.line_num)
        except csv.Error as error:
            reason, remedy = str(error), "write the file as comma-separated values"
            raise BadInputError(where, reason, position=f"line {reader.line_num}", remedy=remedy) from None
        except UnicodeDecodeError:
            raise BadInputError(where, "not UTF-8", position=_undecodable(path), remedy="save it as UTF-8") from None
        except OSError as error:
            raise BadInputError(where, error.strerror or "cannot be read", remedy="name a readable CSV") from None
        return products, categories, lines

    def _places(self, header: Sequence[str]) -> tuple[int, int]:
        if not set(self._names) <= set(header):
            reason = f"no columns {' and '.join(self._names)}"
            raise BadInputError(self._where, reason, position="line 1", remedy="add that header")
        return header.index(self._names[0]), header.index(self._names[1])

    def _label(self, row: Sequence[str], first: int, second: int, line: int) -> tuple[int, int]:
        try:
            product, text = int(row[first]), row[second]
            removed = self._removals and not text
            given = [] if removed else [int(one) for one in (text.split() if self._names == _SETS else [text])]
        except (ValueError, IndexError):
            product, removed, given = _LARGEST + 1, False, []
        if not all(_SMALLEST <= number <= _LARGEST for number in (product, *given)):
            reason = f"{' and '.join(self._names)} must be whole numbers of up to 64 bits"
            raise BadInputError(self._where, reason, position=f"line {line}", remedy="correct the line")
        if removed:
            return product, NO_CATEGORY
        return product, self._set(given) if self._names == _SETS else given[0]

    def _set(self, given: Sequence[int]) -> int:
        labels = canonical(given)
        number = set_id(labels)
        self.sets[number] = labels
        return number


def _undecodable(path: Path) -> str:
    """The first line that is not UTF-8: decoding in blocks does not tell."""
    lines = path.read_bytes().splitlines()
    return (
        f"line {next(number for number, line in enumerate(lines, 1) if line != line.decode(errors='ignore').encode())}"
    )


def _distinct(where: str, product_id: Int64, category_id: Int64, line: Int64) -> Labels:
    order = np.argsort(product_id, kind="stable")
    labels = Labels(where, product_id[order], category_id[order], line[order])
    again = np.zeros(len(labels), dtype=np.bool_)
    again[1:] = labels.product_id[1:] == labels.product_id[:-1]
    other = again.copy()
    other[1:] &= labels.category_id[1:] != labels.category_id[:-1]
    labels.refuse(other, "product {product} has two categories", "keep one")
    return Labels(where, labels.product_id[~again], labels.category_id[~again], labels.line[~again])
