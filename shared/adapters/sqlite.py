"""One SQLite file for all embedded rows: connections per thread and process, one writer at a time, local disk only."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.domain.errors import NewerSchemaError, StoreUnavailableError

STORE_VERSION = 1
_BUSY_SECONDS = 30.0  # the longest bulk insert of another process is far shorter
_LOG_PAGES = 16_384  # 64 MiB before they go into the file: a page that products in any order change again goes once


class _Connection(sqlite3.Connection):
    """Closes itself when its thread ends: Python 3.13 warns about one that is only dropped."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it could not be opened
            self.close()


class Database:
    """Connections to one file. Opened lazily, once per thread, and anew after a fork."""

    def __init__(self, path: Path, tables: str, columns: Sequence[tuple[str, str, str]] = ()) -> None:
        """`tables` are CREATE ... IF NOT EXISTS statements, run when a process first connects.

        `columns` are (table, name, definition with a default) that tables made by an earlier Shelver lack.
        """
        self._path = path
        self._tables = tables
        self._columns = columns
        self._local = threading.local()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection outside any transaction: every statement sees what is committed."""
        with _translated(self._path):
            yield self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside BEGIN IMMEDIATE: committed at the end, rolled back by any error."""
        with _translated(self._path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def row(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        with self.reading() as connection:
            found: sqlite3.Row | None = connection.execute(statement, values).fetchone()
            return found

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """One statement in a transaction of its own; how many rows it changed."""
        with self.writing() as connection:
            return connection.execute(statement, values).rowcount

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = self._connect()
            self._local.pid = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            factory=_Connection,
            check_same_thread=False,  # one thread uses it, but any may be the one that collects and closes it
        )
        connection.row_factory = sqlite3.Row
        with self._path.with_name(f"{self._path.name}.open").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the first switch to WAL heeds no busy timeout
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > STORE_VERSION:
            raise NewerSchemaError(
                f"{self._path}: written by a newer Shelver (store version {version}, this one reads {STORE_VERSION}); "
                "upgrade, or use another --home"
            )
        connection.executescript(f"BEGIN IMMEDIATE; {self._tables} PRAGMA user_version={STORE_VERSION}; COMMIT;")
        self._add_columns(connection)
        return connection

    def _add_columns(self, connection: sqlite3.Connection) -> None:
        for table, name, definition in self._columns:
            known = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
            if connection.execute(known, (table, name)).fetchone():
                continue
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute(known, (table, name)).fetchone():  # nobody else was first
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")
            connection.execute("COMMIT")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise StoreUnavailableError(f"{path}: {error}; check the disk and its permissions") from error
