"""The catalog of datasets, ingests and product rows in the embedded SQLite file."""

import dataclasses
import sqlite3
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from shared.adapters.rows import dataset_taken, from_json, no_dataset, no_product, to_json
from shared.adapters.sqlite import Database
from shared.domain.records import Dataset, Ingest, ProductRow

_ROWS = 10_000  # rows in one transaction: long enough to be fast, short enough for other writers

_TABLES = """
CREATE TABLE IF NOT EXISTS ingests (dataset TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS datasets (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, document TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS products (
    dataset TEXT NOT NULL, id INTEGER NOT NULL, schema INTEGER NOT NULL, category_id INTEGER, pack INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL, images INTEGER NOT NULL, PRIMARY KEY (dataset, id)
) WITHOUT ROWID;
"""

_COLUMNS = "dataset, id, schema, category_id, pack, offset, length, images"


class SqliteCatalog:
    """The embedded catalog; see the port for what each method promises."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES)

    def begin_ingest(self, ingest: Ingest) -> Ingest:
        """Store the row unless its dataset has one already; return the row that is stored."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO ingests VALUES (?, ?)", (ingest.dataset, to_json(ingest)))
            row = connection.execute("SELECT document FROM ingests WHERE dataset = ?", (ingest.dataset,)).fetchone()
        return from_json(Ingest, row["document"])

    def ingest(self, dataset: str) -> Ingest | None:
        """The ingest of `dataset`."""
        row = self._database.row("SELECT document FROM ingests WHERE dataset = ?", (dataset,))
        return None if row is None else from_json(Ingest, row["document"])

    def ingests(self) -> list[Ingest]:
        """All ingests by dataset, also those of datasets that are not visible."""
        rows = self._database.rows("SELECT document FROM ingests ORDER BY dataset")
        return [from_json(Ingest, row["document"]) for row in rows]

    def end_ingest(
        self, dataset: str, state: str, error: str = "", *, rate: float = 0.0, bad_input: bool = False
    ) -> None:
        """Set the state of an ingest: complete (at `rate` bytes per second), failed (perhaps for its input), or running
        again."""
        with self._database.writing() as connection:
            row = connection.execute("SELECT document FROM ingests WHERE dataset = ?", (dataset,)).fetchone()
            if row is not None:
                before = from_json(Ingest, row["document"])
                ended = dataclasses.replace(before, state=state, error=error, rate=rate, bad_input=bad_input)
                connection.execute("UPDATE ingests SET document = ? WHERE dataset = ?", (to_json(ended), dataset))

    def add_products(self, rows: Iterable[ProductRow]) -> None:
        """Insert rows in bulk; a row that is there already stays as it is."""
        values = (
            (r.dataset, r.id, r.schema, r.category_id, r.pack, r.offset, r.length, r.images) for r in rows
        )  # fmt: skip
        while block := list(islice(values, _ROWS)):
            with self._database.writing() as connection:
                connection.executemany(f"INSERT OR IGNORE INTO products ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", block)

    def add_dataset(self, dataset: Dataset) -> None:
        """Make a dataset visible; the same name again is fine when the fingerprint is equal, else ConflictError."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO datasets VALUES (?, ?, ?)",
                (dataset.name, dataset.fingerprint, to_json(dataset)),
            )
            row = connection.execute("SELECT fingerprint FROM datasets WHERE name = ?", (dataset.name,)).fetchone()
        if row["fingerprint"] != dataset.fingerprint:
            raise dataset_taken(dataset.name)

    def dataset(self, name: str) -> Dataset:
        """The dataset. Raises NotFoundError."""
        row = self._database.row("SELECT document FROM datasets WHERE name = ?", (name,))
        if row is None:
            raise no_dataset(name)
        return from_json(Dataset, row["document"])

    def datasets(self) -> list[Dataset]:
        """All visible datasets by name."""
        rows = self._database.rows("SELECT document FROM datasets ORDER BY name")
        return [from_json(Dataset, row["document"]) for row in rows]

    def product(self, dataset: str, product: int) -> ProductRow:
        """One product's row. Raises NotFoundError."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM products WHERE dataset = ? AND id = ?", (dataset, product))
        if row is None:
            raise no_product(dataset, product)
        return _product(row)

    def products(self, dataset: str, *, after: int | None = None, limit: int = 1000) -> list[ProductRow]:
        """A page of product rows in order of id, those greater than `after`."""
        beyond = "" if after is None else "AND id > ?"
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM products WHERE dataset = ? {beyond} ORDER BY id LIMIT ?",
            (dataset, *([] if after is None else [after]), limit),
        )
        return [_product(row) for row in rows]

    def count_products(self, dataset: str) -> int:
        """Product rows of the dataset."""
        row = self._database.row("SELECT count(*) AS n FROM products WHERE dataset = ?", (dataset,))
        return 0 if row is None else int(row["n"])

    def remove_dataset(self, name: str) -> None:
        """Remove the dataset's row, its ingest and its product rows; not being there is fine."""
        self._database.write("DELETE FROM datasets WHERE name = ?", (name,))
        while self._database.write(
            "DELETE FROM products WHERE (dataset, id) IN (SELECT dataset, id FROM products WHERE dataset = ? LIMIT ?)",
            (name, _ROWS),
        ):
            pass
        self._database.write("DELETE FROM ingests WHERE dataset = ?", (name,))


def _product(row: sqlite3.Row) -> ProductRow:
    return ProductRow.from_plain(dict(row))
