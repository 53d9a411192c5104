"""Stores written by the first release, which knew no copied outcomes."""

import json
import sqlite3
from pathlib import Path

from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain import states
from shared.domain.records import Chunk, Job, JobOptions, Outcome

OLD_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, generation INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE chunks (
    id TEXT PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL,
    beat INTEGER NOT NULL, ready INTEGER NOT NULL,
    products INTEGER NOT NULL, images INTEGER NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL,
    decided INTEGER NOT NULL, scored_images INTEGER NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE outcomes (
    job TEXT NOT NULL, product INTEGER NOT NULL, position INTEGER NOT NULL, failed INTEGER NOT NULL,
    content TEXT NOT NULL, PRIMARY KEY (job, product)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
OPTIONS = {"image_duplicates": "none", "product_duplicates": "none", "skip_decided": True, "chunk_images": 4,
           "keep_scores": False}  # fmt: skip
JOB = {"schema": 1, "id": "j", "dataset": "d", "dataset_fingerprint": "f", "ensemble": "e", "version": "v",
       "options": OPTIONS, "products": 2, "images": 2, "state": "running"}  # fmt: skip
CHUNK = {"schema": 1, "id": "c", "job": "j", "pack": 0, "offset": 0, "length": 9, "position": 0, "products": 2,
         "images": 2, "state": "running"}  # fmt: skip
OUTCOME = {"schema": 1, "job": "j", "product": 7, "position": 0, "chunk": "c", "source": "model", "predictions": {}}


def test_rows_of_the_first_release_are_read_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "shelver.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(OLD_TABLES)
        old.execute("INSERT INTO jobs VALUES (1, 'j', 'running', 0, ?)", (json.dumps(JOB),))
        row = "'c', 'j', 'running', 0, 0, 0, 0, 2, 2, 0, 0, 0, 0"
        old.execute(f"INSERT INTO chunks VALUES ({row}, ?)", (json.dumps(CHUNK),))
        old.execute("INSERT INTO outcomes VALUES ('j', 7, 0, 0, ?)", (json.dumps(OUTCOME),))
    old.close()
    jobs = SqliteJobs(path)
    assert jobs.job("j") == Job(**JOB | {"options": JobOptions(**OPTIONS)})
    assert jobs.job("j").options.since == ""
    assert jobs.outcomes("j") == jobs.outcomes_of("j", [7]) == [Outcome(**OUTCOME)]
    (chunk,) = jobs.chunks("j")
    assert chunk == Chunk(**CHUNK)
    assert jobs.count_chunks("j")["running"]["copied"] == 0
    done = states.finish_chunk(
        chunk,
        done=2,
        failed=0,
        decided=0,
        copied=1,
        scored_images=1,
        precision="float32",
        batch_images=8,
        seconds={},
    )
    assert jobs.swap_chunk(chunk, done)
    assert jobs.count_chunks("j")["done"]["copied"] == 1
