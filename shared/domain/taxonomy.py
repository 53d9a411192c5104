"""The category table. A class index is a row of the file; nodes of the tree are keyed by full path, never by name."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.domain.digests import digest
from shared.domain.errors import BadInputError

COLUMNS = ("category_id", "category_level1", "category_level2", "category_level3")
LEVELS = 3

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Path = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Taxonomy:
    """c classes in row order. Made by `parse` or `build`; compare by `fingerprint`."""

    category_ids: Int64  # int64[c]
    paths: tuple[Path, ...]
    fingerprint: str  # digest of category ids and paths in row order
    node_of: tuple[Int32, Int32, Int32]  # per level, int32[c]: the node that each class lies under
    nodes: tuple[tuple[tuple[str, ...], ...], ...]  # per level: the path of each node, by first appearance
    _sorted: Int64  # int64[c], classes by ascending category id

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.paths)

    def index_of(self, ids: Int64) -> Int64:
        """The class index of each category id, -1 for ids that are not in the table: int64[n] -> int64[n]."""
        by_id = self.category_ids[self._sorted]
        place = np.minimum(np.searchsorted(by_id, ids), self.classes - 1)
        return np.where(by_id[place] == ids, self._sorted[place], -1)


def build(category_ids: Sequence[int], paths: Sequence[Path]) -> Taxonomy:
    """A taxonomy of one or more classes with distinct category ids, in the order given."""
    levels = [_number(path[: level + 1] for path in paths) for level in range(LEVELS)]
    (first, _), (second, _), (third, _) = levels
    ids = np.array(category_ids, dtype=np.int64)
    return Taxonomy(
        category_ids=ids,
        paths=tuple(paths),
        fingerprint=digest([[int(i), *path] for i, path in zip(category_ids, paths, strict=True)]),
        node_of=(first, second, third),
        nodes=tuple(nodes for _, nodes in levels),
        _sorted=np.argsort(ids).astype(np.int64),
    )


def _number(keys: Iterable[tuple[str, ...]]) -> tuple[Int32, tuple[tuple[str, ...], ...]]:
    nodes: dict[tuple[str, ...], int] = {}
    numbers = [nodes.setdefault(key, len(nodes)) for key in keys]
    return np.array(numbers, dtype=np.int32), tuple(nodes)


def parse(text_bytes: bytes, where: str) -> Taxonomy:
    """The taxonomy of a CSV file's bytes: UTF-8, with or without a byte order mark.

    The header names the columns of `COLUMNS`, in any order; further columns are ignored, as are empty lines. `where`
    names the file in errors. Raises BadInputError with the line and what to do about it.
    """
    rows = _rows(_decode(text_bytes, where), where)
    header = next(rows, (0, []))[1]
    missing = [column for column in COLUMNS if column not in header]
    if not header:
        raise BadInputError(where, "the file is empty", remedy=f"it needs a header line {','.join(COLUMNS)}")
    if missing:
        raise BadInputError(
            where,
            f"the header lacks {', '.join(missing)}",
            position="line 1",
            remedy=f"it must name the columns {','.join(COLUMNS)}, separated by commas",
        )
    places = [header.index(column) for column in COLUMNS]
    line_of: dict[int, int] = {}
    paths: list[Path] = []
    for line, row in rows:
        if len(row) != len(header):
            reason = f"{len(row)} fields where the header has {len(header)}"
            raise BadInputError(where, reason, position=f"line {line}", remedy="quote names that hold commas")
        category_id = _category_id(row[places[0]], where, line)
        if category_id in line_of:
            reason = f"category {category_id} is on line {line_of[category_id]} already"
            raise BadInputError(where, reason, position=f"line {line}", remedy="keep one of the two lines")
        line_of[category_id] = line
        paths.append((row[places[1]], row[places[2]], row[places[3]]))
    if not paths:
        raise BadInputError(where, "there is no category below the header", remedy="add one line per category")
    return build(list(line_of), paths)


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"byte {error.start} is not UTF-8"
        raise BadInputError(where, reason, position=f"line {line}", remedy="save the file as UTF-8") from None


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise BadInputError(
            where, str(error), position=f"line {reader.line_num}", remedy="write the file as comma-separated values"
        ) from None


def _category_id(text: str, where: str, line: int) -> int:
    try:
        category_id = int(text)
    except ValueError:
        category_id = 2**63
    if not -(2**63) < category_id < 2**63:
        reason = f"'{text}' is no category id"
        raise BadInputError(where, reason, position=f"line {line}", remedy="ids are whole numbers of up to 64 bits")
    return category_id
