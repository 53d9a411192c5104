"""A job's answers as files: one row per product in dump order, as CSV (a submission), NDJSON or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from shared.domain import submission
from shared.domain.records import Job, Outcome
from shared.domain.submission import Answer
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_indexes
from shared.ports import Jobs, Objects

_PAGE = 2000  # outcomes of one read: bounded memory at any number of rows
_ROW_GROUP = 65_536

_SCHEMA = pa.schema(
    [
        pa.field("_id", pa.int64(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        *[pa.field(f"category_level{level}", pa.string(), nullable=False) for level in (1, 2, 3)],
        pa.field("probability", pa.float64()),
        pa.field("margin", pa.float64()),
        pa.field("entropy", pa.float64()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


def stored_outcomes(jobs: Jobs, job: str) -> Iterator[Outcome]:
    """All outcomes of a job in order of position, page by page."""
    after = -1
    while page := jobs.outcomes(job, after=after, limit=_PAGE):
        yield from page
        after = page[-1].position


def answers(
    objects: Objects, jobs: Jobs, manifest: Manifest, job: Job, combination: str, fill: int | None
) -> Iterator[Answer]:
    """Every product of the job's dataset with its answer; refuses what `submission.answers` refuses."""
    products = (product for _, index in read_indexes(objects, manifest) for product in index.product_id.tolist())
    return submission.answers(products, stored_outcomes(jobs, job.id), combination, where=f"job {job.id}", fill=fill)


def write(found: Iterable[Answer], combination: str, taxonomy: Taxonomy, form: str, file: BinaryIO) -> int:
    """Write answers as csv, ndjson or parquet; the number of rows."""
    if form == "csv":
        return _write_csv(found, file)
    rows = _rows(found, combination, taxonomy)
    return _write_ndjson(rows, file) if form == "ndjson" else _write_parquet(rows, file)


def _rows(found: Iterable[Answer], combination: str, taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    names = dict(zip(taxonomy.category_ids.tolist(), taxonomy.paths, strict=True))
    for answer in found:
        outcome = answer.outcome
        answered = outcome is not None and not outcome.error
        prediction = outcome.predictions[combination] if outcome is not None and answered else {}
        yield {
            "_id": answer.product,
            "category_id": answer.category_id,
            **{f"category_level{level}": name for level, name in enumerate(names[answer.category_id], start=1)},
            **{figure: prediction.get(figure) for figure in ("probability", "margin", "entropy")},
            "source": outcome.source if outcome is not None and answered else "fill",
            "error": outcome.error or None if outcome is not None else "no answer yet",
        }


def _write_csv(found: Iterable[Answer], file: BinaryIO) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(submission.HEADER)
    count = 0
    for count, answer in enumerate(found, start=1):  # noqa: B007 - its last value is the result
        writer.writerow((answer.product, answer.category_id))
    text.detach()
    return count


def _write_ndjson(rows: Iterable[dict[str, Any]], file: BinaryIO) -> int:
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - its last value is the result
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return count


def _write_parquet(rows: Iterable[dict[str, Any]], file: BinaryIO) -> int:
    pending = iter(rows)
    count = 0
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        while group := list(islice(pending, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=_SCHEMA))
            count += len(group)
    return count
