"""Runs, trainings and ensemble versions in one SQLite file: each row its JSON, with what a swap compares beside it."""

from pathlib import Path
from typing import TypeVar

from shared.adapters.rows import from_json, no_row, no_version, to_json
from shared.adapters.sqlite import Database
from shared.domain.records import EnsembleVersion, Run, Training

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, generation INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS trainings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, generation INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS ensemble_versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version TEXT NOT NULL, content TEXT NOT NULL,
    UNIQUE (name, version)
);
CREATE TABLE IF NOT EXISTS current_versions (name TEXT PRIMARY KEY, version TEXT NOT NULL);
"""

_Row = TypeVar("_Row", Run, Training)


class SqliteRuns:
    """The Runs port on the SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES)

    def declare(self, run: Run) -> Run:
        """See the port."""
        return self._add("runs", run)

    def run(self, run: str) -> Run:
        """See the port."""
        return self._get("runs", Run, run)

    def runs(self) -> list[Run]:
        """See the port."""
        return self._all("runs", Run)

    def swap_run(self, old: Run, new: Run) -> bool:
        """See the port."""
        return self._swap("runs", old, new)

    def remove_run(self, run: str) -> None:
        """See the port."""
        self._database.write("DELETE FROM runs WHERE id = ?", (run,))

    def add_training(self, training: Training) -> Training:
        """See the port."""
        return self._add("trainings", training)

    def training(self, training: str) -> Training:
        """See the port."""
        return self._get("trainings", Training, training)

    def trainings(self) -> list[Training]:
        """See the port."""
        return self._all("trainings", Training)

    def remove_training(self, training: str) -> None:
        """See the port."""
        self._database.write("DELETE FROM trainings WHERE id = ?", (training,))

    def swap_training(self, old: Training, new: Training) -> bool:
        """See the port."""
        return self._swap("trainings", old, new)

    def add_version(self, version: EnsembleVersion) -> EnsembleVersion:
        """See the port."""
        self._database.write(
            "INSERT OR IGNORE INTO ensemble_versions (name, version, content) VALUES (?, ?, ?)",
            (version.name, version.version, to_json(version)),
        )
        return self.version(version.name, version.version)

    def version(self, name: str, version: str = "") -> EnsembleVersion:
        """See the port."""
        wanted = version or self.current(name)
        row = self._database.row("SELECT content FROM ensemble_versions WHERE name = ? AND version = ?", (name, wanted))
        if row is None:
            raise no_version(name, version)
        return from_json(EnsembleVersion, row["content"])

    def versions(self, name: str = "") -> list[EnsembleVersion]:
        """See the port."""
        rows = self._database.rows(
            "SELECT content FROM ensemble_versions WHERE ? IN ('', name) ORDER BY number", (name,)
        )
        return [from_json(EnsembleVersion, row["content"]) for row in rows]

    def remove_version(self, name: str, version: str) -> None:
        """See the port."""
        with self._database.writing() as connection:
            for table in ("current_versions", "ensemble_versions"):
                connection.execute(f"DELETE FROM {table} WHERE name = ? AND version = ?", (name, version))

    def set_current(self, name: str, version: str) -> None:
        """See the port."""
        self.version(name, version)
        self._database.write("INSERT OR REPLACE INTO current_versions (name, version) VALUES (?, ?)", (name, version))

    def current(self, name: str) -> str:
        """See the port."""
        row = self._database.row("SELECT version FROM current_versions WHERE name = ?", (name,))
        return str(row["version"]) if row else ""

    def _add(self, table: str, row: _Row) -> _Row:
        self._database.write(
            f"INSERT OR IGNORE INTO {table} (id, state, generation, content) VALUES (?, ?, ?, ?)",
            (row.id, row.state, row.generation, to_json(row)),
        )
        return self._get(table, type(row), row.id)

    def _get(self, table: str, kind: type[_Row], key: str) -> _Row:
        row = self._database.row(f"SELECT content FROM {table} WHERE id = ?", (key,))
        if row is None:
            raise no_row(kind, key)
        return from_json(kind, row["content"])

    def _all(self, table: str, kind: type[_Row]) -> list[_Row]:
        rows = self._database.rows(f"SELECT content FROM {table} ORDER BY number")
        return [from_json(kind, row["content"]) for row in rows]

    def _swap(self, table: str, old: _Row, new: _Row) -> bool:
        changed = self._database.write(
            f"UPDATE {table} SET state = ?, generation = ?, content = ? WHERE id = ? AND state = ? AND generation = ?",
            (new.state, new.generation, to_json(new), old.id, old.state, old.generation),
        )
        return changed == 1
