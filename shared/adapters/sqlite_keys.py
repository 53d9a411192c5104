"""API keys and admissions in one SQLite file."""

from dataclasses import replace
from pathlib import Path

from shared.adapters.rows import from_json, no_key, secret_taken, to_json
from shared.adapters.sqlite import Database
from shared.domain.service_records import Admission, Key

_TABLES = """
CREATE TABLE IF NOT EXISTS keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS admissions (tenant TEXT PRIMARY KEY, generation INTEGER NOT NULL, content TEXT NOT NULL);
"""


class SqliteKeys:
    """The Keys port on the SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES)

    def add_key(self, key: Key) -> Key:
        """See the port."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO keys (id, digest, content) VALUES (?, ?, ?)",
                (key.id, key.digest, to_json(key)),
            )
            row = connection.execute("SELECT content FROM keys WHERE id = ?", (key.id,)).fetchone()
        if row is None:
            raise secret_taken()
        return from_json(Key, row["content"])

    def key_of(self, digest: str) -> Key | None:
        """See the port."""
        row = self._database.row("SELECT content FROM keys WHERE digest = ?", (digest,))
        return None if row is None else from_json(Key, row["content"])

    def all_keys(self) -> list[Key]:
        """See the port."""
        rows = self._database.rows("SELECT content FROM keys ORDER BY number")
        return [from_json(Key, row["content"]) for row in rows]

    def revoke_key(self, key: str) -> None:
        """See the port."""
        with self._database.writing() as connection:
            row = connection.execute("SELECT content FROM keys WHERE id = ?", (key,)).fetchone()
            if row is None:
                raise no_key(key)
            revoked = replace(from_json(Key, row["content"]), revoked=True)
            connection.execute("UPDATE keys SET content = ? WHERE id = ?", (to_json(revoked), key))

    def admission(self, tenant: str) -> Admission:
        """See the port."""
        row = self._database.row("SELECT content FROM admissions WHERE tenant = ?", (tenant,))
        return Admission(tenant=tenant) if row is None else from_json(Admission, row["content"])

    def swap_admission(self, old: Admission, new: Admission) -> bool:
        """See the port."""
        values = (new.generation, to_json(new))
        if old.generation == 0:
            statement = "INSERT OR IGNORE INTO admissions (generation, content, tenant) VALUES (?, ?, ?)"
            return self._database.write(statement, (*values, old.tenant)) == 1
        statement = "UPDATE admissions SET generation = ?, content = ? WHERE tenant = ? AND generation = ?"
        return self._database.write(statement, (*values, old.tenant, old.generation)) == 1
