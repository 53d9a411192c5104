"""Label files: a CSV with the header `_id,category_id`, read whole into arrays; every refusal names file and line."""

import csv
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.domain.errors import BadInputError
from shared.domain.taxonomy import Taxonomy
from shared.packs import NO_CATEGORY, Int64

_COLUMNS = ("_id", "category_id")
_SMALLEST, _LARGEST = -(2**63) + 1, 2**63 - 1  # the smallest int64 of all is NO_CATEGORY


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """n distinct products by ascending id, the category of each and the line of `where` that says so."""

    where: str
    product_id: Int64  # int64[n]
    category_id: Int64  # int64[n], NO_CATEGORY where the field is empty
    line: Int64  # int64[n]

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


def read(path: Path, taxonomy: Taxonomy, *, removals: bool = False) -> Labels:
    """The labels of a file; with `removals` a category may be empty. The same line twice is one label.

    Raises BadInputError for a file that cannot be read or holds none, a line that is no label, a product with two
    categories, and a category that is not in the table.
    """
    where = str(path)
    columns = _columns(path, removals)
    labels = _distinct(where, *(np.frombuffer(column, dtype=np.int64) for column in columns))
    if not len(labels):
        raise BadInputError(where, "no labels", remedy="one line per product below the header")
    unknown = (labels.category_id != NO_CATEGORY) & (taxonomy.index_of(labels.category_id) < 0)
    labels.refuse(unknown, "category {category} is not in the category table", "use the table of the dataset")
    return labels


def _columns(path: Path, removals: bool) -> "tuple[array[int], array[int], array[int]]":
    """Product, category and line of each row: machine integers, since millions of Python objects would be too many."""
    products, categories, lines = array("q"), array("q"), array("q")
    where = str(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            first, second = _places(next(reader, []), where)
            for row in reader:
                if row:
                    product, category = _label(row, first, second, removals, where, reader.line_num)
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


def _undecodable(path: Path) -> str:
    """The first line that is not UTF-8: decoding in blocks does not tell."""
    lines = path.read_bytes().splitlines()
    return (
        f"line {next(number for number, line in enumerate(lines, 1) if line != line.decode(errors='ignore').encode())}"
    )


def _places(header: Sequence[str], where: str) -> tuple[int, int]:
    if not set(_COLUMNS) <= set(header):
        raise BadInputError(where, "no columns _id and category_id", position="line 1", remedy="add that header")
    return header.index(_COLUMNS[0]), header.index(_COLUMNS[1])


def _label(row: Sequence[str], first: int, second: int, removals: bool, where: str, line: int) -> tuple[int, int]:
    try:
        product = int(row[first])
        removed = removals and not row[second]
        category = 0 if removed else int(row[second])
    except (ValueError, IndexError):
        product = category = _LARGEST + 1
    if not (_SMALLEST <= product <= _LARGEST and _SMALLEST <= category <= _LARGEST):
        reason = "_id and category_id must be whole numbers of up to 64 bits"
        raise BadInputError(where, reason, position=f"line {line}", remedy="correct the line")
    return product, NO_CATEGORY if removed else category


def _distinct(where: str, product_id: Int64, category_id: Int64, line: Int64) -> Labels:
    order = np.argsort(product_id, kind="stable")
    labels = Labels(where, product_id[order], category_id[order], line[order])
    again = np.zeros(len(labels), dtype=np.bool_)
    again[1:] = labels.product_id[1:] == labels.product_id[:-1]
    other = again.copy()
    other[1:] &= labels.category_id[1:] != labels.category_id[:-1]
    labels.refuse(other, "product {product} has two categories", "keep one")
    return Labels(where, *(column[~again] for column in (labels.product_id, labels.category_id, labels.line)))
