"""A job's answers as files: one row per product in dump order, as CSV (a submission), NDJSON or Parquet.

Of a multilabel ensemble a row has the labels answered instead of a category, in CSV separated by spaces. Where
thresholds were fitted, a CSV says also what was decided.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from shared.domain import submission
from shared.domain.fits import LEVEL_OF
from shared.domain.records import EnsembleVersion, Job, Outcome
from shared.domain.submission import Answer
from shared.domain.taxonomy import Path, Taxonomy
from shared.packs import Manifest, read_product_ids
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
        pa.field("decision", pa.string()),
        pa.field("decision_path", pa.list_(pa.string())),
        pa.field("source", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


_LABELS_SCHEMA = pa.schema(
    [
        pa.field("_id", pa.int64(), nullable=False),
        pa.field("category_ids", pa.list_(pa.int64()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
_LABELS_HEADER = ("_id", "category_ids")
_DECISION = ("decision", "decision_path")


def stored_outcomes(jobs: Jobs, job: str, after: int = -1) -> Iterator[Outcome]:
    """The outcomes of a job beyond position `after`, in order of position, page by page."""
    while page := jobs.outcomes(job, after=after, limit=_PAGE):
        yield from page
        after = page[-1].position


def answers(
    objects: Objects,
    jobs: Jobs,
    manifest: Manifest,
    job: Job,
    combination: str,
    fill: int | None,
    after: int = -1,
) -> Iterator[Answer]:
    """Every product of the job's dataset beyond place `after`, with its answer; refuses as `submission.answers`."""
    products = chain.from_iterable(ids.tolist() for ids in read_product_ids(objects, manifest))
    return submission.answers(
        islice(products, after + 1, None),
        stored_outcomes(jobs, job.id, after),
        combination,
        where=f"job {job.id}",
        fill=fill,
        start=after + 1,
    )


def present(jobs: Jobs, job: str, combination: str, after: int = -1) -> Iterator[Answer]:
    """The products beyond place `after` that have a prediction by now."""
    for outcome in stored_outcomes(jobs, job, after):
        if not outcome.error:
            yield Answer(outcome.product, outcome.predictions[combination]["category_id"], outcome)


def error_lines(jobs: Jobs, job: str, after: int = -1) -> Iterator[bytes]:
    """Products beyond place `after` with an error instead of a prediction, as ndjson."""
    while page := jobs.outcomes(job, after=after, limit=_PAGE, errors_only=True):
        for outcome in page:
            yield json.dumps({"_id": outcome.product, "error": outcome.error}, ensure_ascii=False).encode() + b"\n"
        after = page[-1].position


def write(
    found: Iterable[Answer],
    combination: str,
    taxonomy: Taxonomy,
    form: str,
    file: BinaryIO,
    version: EnsembleVersion,
) -> int:
    """Write answers of `version` as csv, ndjson or parquet; the number of rows."""
    if form == "parquet":
        if version.document["task"] == "multilabel":
            return _write_parquet(_label_rows(found, combination, taxonomy), file, _LABELS_SCHEMA)
        return _write_parquet(_rows(found, combination, taxonomy), file, _SCHEMA)
    count = -1 if form == "csv" else 0  # its header is no row
    for line in lines(found, combination, taxonomy, form, version):
        file.write(line)
        count += 1
    return count


def lines(
    found: Iterable[Answer], combination: str, taxonomy: Taxonomy, form: str, version: EnsembleVersion
) -> Iterator[bytes]:
    """Answers of `version` as lines of csv, the header first, or ndjson."""
    if version.document["task"] == "multilabel":
        rows = _label_rows(found, combination, taxonomy)
        if form == "csv":
            yield ",".join(_LABELS_HEADER).encode() + b"\n"
            yield from (b"%d,%s\n" % (row["_id"], " ".join(map(str, row["category_ids"])).encode()) for row in rows)
        else:
            yield from (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    elif form == "csv" and version.fits.get(combination, {}).get("thresholds"):
        yield ",".join((*submission.HEADER, *_DECISION)).encode() + b"\n"
        yield from map(_decided_line, _rows(found, combination, taxonomy))
    elif form == "csv":
        yield ",".join(submission.HEADER).encode() + b"\n"
        for answer in found:
            yield b"%d,%d\n" % (answer.product, answer.category_id)
    else:
        for row in _rows(found, combination, taxonomy):
            yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


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
            **decided(prediction, names[answer.category_id], taxonomy),
            "source": outcome.source if outcome is not None and answered else "fill",
            "error": outcome.error or None if outcome is not None else "no answer yet",
        }


def _label_rows(found: Iterable[Answer], combination: str, taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    """The labels answered, the most probable first; those of a product without an answer are the category filled in."""
    for answer in found:
        outcome = answer.outcome
        answered = outcome is not None and not outcome.error
        labels = outcome.predictions[combination]["labels"] if outcome is not None and answered else []
        filled = [] if answered else [answer.category_id]
        yield {
            "_id": answer.product,
            "category_ids": [int(taxonomy.category_ids[index]) for index, _ in labels] + filled,
            "probabilities": [probability for _, probability in labels],
            "source": outcome.source if outcome is not None and answered else "fill",
            "error": outcome.error or None if outcome is not None else "no answer yet",
        }


def decided(prediction: Mapping[str, Any], path: Path, taxonomy: Taxonomy) -> dict[str, Any]:
    """What was decided, and the path that may be used by that: of the category or of a node; none for review."""
    decision = prediction.get("decision")
    if decision == "accept":
        return {"decision": decision, "decision_path": list(path)}
    if decision in LEVEL_OF:
        level = LEVEL_OF[decision]
        node, _ = prediction["nodes"][level]
        return {"decision": decision, "decision_path": list(taxonomy.nodes[level][node])}
    return {"decision": decision, "decision_path": None}


def _decided_line(row: Mapping[str, Any]) -> bytes:
    """A path in quotes, and in one line whatever its names hold: a stream that broke is taken up by lines."""
    path = " / ".join(" ".join(name.split()) for name in row["decision_path"] or ())
    cell = '"' + path.replace('"', '""') + '"' if path else ""
    return f"{row['_id']},{row['category_id']},{row['decision'] or ''},{cell}\n".encode()


def _write_parquet(rows: Iterable[dict[str, Any]], file: BinaryIO, schema: pa.Schema) -> int:
    pending = iter(rows)
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows_of_group := _write_group(islice(pending, _ROW_GROUP), writer, schema):
            count += rows_of_group
    return count


def _write_group(rows: Iterator[dict[str, Any]], writer: pq.ParquetWriter, schema: pa.Schema) -> int:
    """A function of its own: a group's columns are let go before those of the next are made."""
    table = pa.Table.from_batches(_batches(rows, schema), schema)
    if len(table):
        writer.write_table(table)
    return len(table)


def _batches(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Columns take a tenth of the memory of rows, of which few are there at once."""
    while some := list(islice(rows, _PAGE)):
        yield pa.RecordBatch.from_pylist(some, schema=schema)
