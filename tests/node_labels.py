"""A multilabel catalog made from one of categories: a product's labels are the nodes of its path, on all three levels.

`python -m tests.node_labels FOLDER INTO` reads `train.bson`, `test.bson`, `category_names.csv` and a label file
`test_labels*.csv` of FOLDER, and writes the same names with label sets into INTO.
"""

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import bson

HEADER = ("category_id", "category_level1", "category_level2", "category_level3")
_ALL = "all"  # what a node of an upper level is called on the levels below
_FIRST = 1  # ids of upper nodes; those of the last level are the categories' own, which are larger


class Nodes:
    """The nodes of a category table under ids of their own."""

    def __init__(self, table: Path) -> None:
        with table.open(encoding="utf-8-sig", newline="") as file:
            self._paths = {
                int(row["category_id"]): tuple(row[name] for name in HEADER[1:]) for row in csv.DictReader(file)
            }
        upper = dict.fromkeys(path[:depth] for path in self._paths.values() for depth in (1, 2))
        self._ids: Mapping[tuple[str, ...], int] = {path: _FIRST + place for place, path in enumerate(upper)}

    def of(self, category: int) -> list[int]:
        """The labels of a product of this category."""
        path = self._paths[category]
        return sorted({self._ids[path[:1]], self._ids[path[:2]], category})

    def table(self) -> Iterator[tuple[int, str, str, str]]:
        """Rows of the table of labels."""
        for path, number in self._ids.items():
            first, second = (*path, _ALL)[:2]
            yield number, first, second, _ALL
        for category, (first, second, third) in self._paths.items():
            yield category, first, second, third


def write(folder: Path, into: Path) -> None:
    """Write the multilabel catalog of a catalog."""
    nodes = Nodes(folder / "category_names.csv")
    into.mkdir(parents=True, exist_ok=True)
    with (into / "category_names.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *nodes.table()])
    for name in ("train.bson", "test.bson"):
        with (folder / name).open("rb") as source, (into / name).open("wb") as file:
            for document in bson.decode_file_iter(source):
                if "category_id" in document:
                    document["category_ids"] = nodes.of(document.pop("category_id"))
                file.write(bson.encode(document))
    for labels in folder.glob("test_labels*.csv"):
        with labels.open(newline="") as source, (into / "test_labels.csv").open("w", newline="") as file:
            rows = [
                (row["_id"], " ".join(map(str, nodes.of(int(row["category_id"]))))) for row in csv.DictReader(source)
            ]
            csv.writer(file).writerows([("_id", "category_ids"), *rows])


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:3]))
