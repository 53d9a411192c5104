import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.adapters.sqlite import Database

TABLES = """
CREATE TABLE IF NOT EXISTS parents (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS children (
    parent INTEGER NOT NULL REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED
);
"""


def test_a_commit_that_fails_leaves_no_transaction_behind(tmp_path: Path) -> None:
    database = Database(tmp_path / "rows.sqlite", TABLES)
    with database.reading() as connection:
        connection.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError):
        database.write("INSERT INTO children VALUES (7)")  # refused at the commit
    assert database.write("INSERT INTO parents VALUES (7)") == 1
    assert database.rows("SELECT * FROM children") == []


def test_a_column_that_came_later_is_added_once_and_old_rows_get_its_default(tmp_path: Path) -> None:
    path, column = tmp_path / "rows.sqlite", ("parents", "age", "INTEGER NOT NULL DEFAULT 7")
    old = Database(path, TABLES)
    old.write("INSERT INTO parents VALUES (1)")
    for _ in range(2):
        new = Database(path, TABLES, [column])
        assert [tuple(row) for row in new.rows("SELECT id, age FROM parents")] == [(1, 7)]
    old.write("INSERT INTO parents (id) VALUES (2)")
    assert [tuple(row) for row in new.rows("SELECT id, age FROM parents")] == [(1, 7), (2, 7)]


OPEN_EACH = """
import sys
from pathlib import Path
from shared.adapters.sqlite import Database
for line in sys.stdin:
    Database(Path(line.strip()), sys.argv[1], [("parents", "age", "INTEGER")]).rows("PRAGMA user_version")
    print(flush=True)
"""


def test_several_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_EACH, TABLES]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(6)
        ]
        for number in range(60):
            for process in processes:
                print(tmp_path / f"{number}.sqlite", file=process.stdin, flush=True)
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline(), "it could not open the file"
