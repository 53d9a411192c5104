"""Scoring jobs, chunks and outcomes in one SQLite file: each row its JSON, with what is compared and summed."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from sqlite3 import Row
from typing import Any

from shared.adapters.rows import from_json, no_chunk, no_job, to_json
from shared.adapters.sqlite import Database
from shared.domain.records import Chunk, Job, Outcome

_SUMS = ("products", "images", "done", "failed", "decided", "copied", "scored_images")
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, generation INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS chunks (
    id TEXT PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL,
    beat INTEGER NOT NULL, ready INTEGER NOT NULL,
    products INTEGER NOT NULL, images INTEGER NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL,
    decided INTEGER NOT NULL, copied INTEGER NOT NULL DEFAULT 0, scored_images INTEGER NOT NULL, content TEXT NOT NULL,
    through INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunks_by_state ON chunks (job, state, position);
CREATE TABLE IF NOT EXISTS outcomes (
    job TEXT NOT NULL, product INTEGER NOT NULL, position INTEGER NOT NULL, failed INTEGER NOT NULL,
    content TEXT NOT NULL, PRIMARY KEY (job, product)
); -- with row ids: without them a row of more than about 1,000 bytes takes pages of its own
CREATE INDEX IF NOT EXISTS outcomes_by_position ON outcomes (job, position);
CREATE INDEX IF NOT EXISTS failed_outcomes ON outcomes (job, position) WHERE failed = 1;
"""
_ADDED = [("chunks", name, "INTEGER NOT NULL DEFAULT 0") for name in ("copied", "through")]
_INSERT_CHUNK = (
    "INSERT OR IGNORE INTO chunks (id, job, state, generation, position, beat, ready, through, content, "
    f"{', '.join(_SUMS)}) VALUES ({', '.join('?' * (9 + len(_SUMS)))})"
)
_INSERT_OUTCOME = "INSERT OR IGNORE INTO outcomes (job, product, position, failed, content) VALUES (?, ?, ?, ?, ?)"
_ASKED = 900  # products per query: SQLite takes 999 variables at least
_INSERTS = 5000  # rows per transaction: short enough that nobody else waits long for the writer's turn


class SqliteJobs:
    """The Jobs port on the SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES, _ADDED)

    def create(self, job: Job) -> Job:
        """See the port."""
        self._database.write(
            "INSERT OR IGNORE INTO jobs (id, state, generation, content) VALUES (?, ?, ?, ?)",
            (job.id, job.state, job.generation, to_json(job)),
        )
        return self.job(job.id)

    def job(self, job: str) -> Job:
        """See the port."""
        row = self._database.row("SELECT content FROM jobs WHERE id = ?", (job,))
        if row is None:
            raise no_job(job)
        return from_json(Job, row["content"])

    def jobs(self, states: Sequence[str] = ()) -> list[Job]:
        """See the port."""
        where = f"WHERE state IN ({_marks(states)})" if states else ""
        rows = self._database.rows(f"SELECT content FROM jobs {where} ORDER BY number DESC", states)
        return [from_json(Job, row["content"]) for row in rows]

    def swap_job(self, old: Job, new: Job) -> bool:
        """See the port."""
        changed = self._database.write(
            "UPDATE jobs SET state = ?, generation = ?, content = ? WHERE id = ? AND state = ? AND generation = ?",
            (new.state, new.generation, to_json(new), old.id, old.state, old.generation),
        )
        return changed == 1

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """See the port."""
        self._insert(_INSERT_CHUNK, ((c.id, c.job, *_columns(c)[:3], c.beat, *_columns(c)[3:]) for c in chunks))

    def chunk(self, chunk: str) -> Chunk:
        """See the port."""
        row = self._database.row("SELECT content, beat, ready, through FROM chunks WHERE id = ?", (chunk,))
        if row is None:
            raise no_chunk(chunk)
        return _chunk(row)

    def chunks(self, job: str, states: Sequence[str] = (), *, limit: int | None = None) -> list[Chunk]:
        """See the port."""
        where = f"AND state IN ({_marks(states)})" if states else ""
        rows = self._database.rows(
            f"SELECT content, beat, ready, through FROM chunks WHERE job = ? {where} ORDER BY position, id LIMIT ?",
            (job, *states, -1 if limit is None else limit),
        )
        return [_chunk(row) for row in rows]

    def swap_chunk(self, old: Chunk, new: Chunk) -> bool:
        """See the port."""
        changed = self._database.write(
            "UPDATE chunks SET state = ?, generation = ?, position = ?, ready = ?, through = ?, content = ?, "
            f"{', '.join(f'{name} = ?' for name in _SUMS)} WHERE id = ? AND state = ? AND generation = ?",
            (*_columns(new), old.id, old.state, old.generation),
        )
        return changed == 1

    def beat(self, chunk: str, generation: int, *, ready: bool, through: int = 0) -> bool:
        """See the port."""
        changed = self._database.write(
            "UPDATE chunks SET beat = beat + 1, ready = ?, through = ? "
            "WHERE id = ? AND state = 'running' AND generation = ?",
            (int(ready), through, chunk, generation),
        )
        return changed == 1

    def count_chunks(self, job: str) -> dict[str, dict[str, int]]:
        """See the port."""
        sums = ", ".join(f"SUM({name}) AS {name}" for name in _SUMS)
        rows = self._database.rows(
            f"SELECT state, COUNT(*) AS chunks, {sums} FROM chunks WHERE job = ? GROUP BY state", (job,)
        )
        return {row["state"]: {name: row[name] for name in ("chunks", *_SUMS)} for row in rows}

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """See the port."""
        self._insert(
            _INSERT_OUTCOME, ((o.job, o.product, o.position, int(bool(o.error)), to_json(o)) for o in outcomes)
        )

    def outcomes(self, job: str, *, after: int = -1, limit: int = 1000, errors_only: bool = False) -> list[Outcome]:
        """See the port."""
        where = "AND failed = 1" if errors_only else ""
        rows = self._database.rows(
            f"SELECT content FROM outcomes WHERE job = ? AND position > ? {where} ORDER BY position LIMIT ?",
            (job, after, limit),
        )
        return [from_json(Outcome, row["content"]) for row in rows]

    def outcomes_of(self, job: str, products: Sequence[int]) -> list[Outcome]:
        """See the port."""
        found: list[Outcome] = []
        remaining = iter(products)
        while asked := list(islice(remaining, _ASKED)):
            rows = self._database.rows(
                f"SELECT content FROM outcomes WHERE job = ? AND product IN ({_marks(asked)})", (job, *asked)
            )
            found += [from_json(Outcome, row["content"]) for row in rows]
        return sorted(found, key=lambda outcome: outcome.position)

    def count_outcomes(self, job: str) -> int:
        """See the port."""
        row = self._database.row("SELECT COUNT(*) AS n FROM outcomes WHERE job = ?", (job,))
        return int(row["n"]) if row else 0

    def remove_job(self, job: str) -> None:
        """See the port."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM outcomes WHERE job = ?", (job,))
            connection.execute("DELETE FROM chunks WHERE job = ?", (job,))
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def _insert(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        remaining = iter(rows)
        while batch := list(islice(remaining, _INSERTS)):
            with self._database.writing() as connection:
                connection.executemany(statement, batch)


def _columns(chunk: Chunk) -> tuple[Any, ...]:
    sums = (getattr(chunk, name) for name in _SUMS)
    return (chunk.state, chunk.generation, chunk.position, int(chunk.ready), chunk.through, to_json(chunk), *sums)


def _chunk(row: Row) -> Chunk:
    beside = {"beat": row["beat"], "ready": bool(row["ready"]), "through": row["through"]}
    return from_json(Chunk, row["content"], **beside)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
