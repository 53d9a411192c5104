"""Leadership leases in one SQLite file."""

from pathlib import Path

from shared.adapters.rows import from_json, to_json
from shared.adapters.sqlite import Database
from shared.domain.service_records import Lease

_TABLES = """
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, term INTEGER NOT NULL, beat INTEGER NOT NULL, content TEXT NOT NULL
);
"""


class SqliteLeases:
    """The Leases port on the SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES)

    def lease(self, name: str) -> Lease:
        """See the port."""
        row = self._database.row("SELECT content FROM leases WHERE name = ?", (name,))
        return Lease(name=name) if row is None else from_json(Lease, row["content"])

    def swap_lease(self, old: Lease, new: Lease) -> bool:
        """See the port."""
        values = (new.term, new.beat, to_json(new), old.name)
        with self._database.writing() as connection:
            statement = "UPDATE leases SET term = ?, beat = ?, content = ? WHERE name = ? AND term = ? AND beat = ?"
            changed = connection.execute(statement, (*values, old.term, old.beat)).rowcount
            if not changed and (old.term, old.beat) == (0, 0):
                statement = "INSERT OR IGNORE INTO leases (term, beat, content, name) VALUES (?, ?, ?, ?)"
                changed = connection.execute(statement, values).rowcount
        return changed == 1
