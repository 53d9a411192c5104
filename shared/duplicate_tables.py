"""Duplicate tables as Parquet objects: one row per key and class, images first, written and read in row groups."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from shared import layout
from shared.domain.duplicates import DuplicateTable
from shared.domain.errors import ConflictError, NewerSchemaError, NotFoundError
from shared.domain.keys import Builder, KeyCounts
from shared.domain.records import SCHEMA
from shared.ports import Objects

GROUP_ROWS = 2**20

_FIELDS = [
    pa.field("key", pa.binary(16), nullable=False),
    pa.field("class_index", pa.int32(), nullable=False),
    pa.field("count", pa.int32(), nullable=False),
]


def write(objects: Objects, dataset: str, name: str, table: DuplicateTable, *, source: str = "") -> str:
    """Store a dataset's table under `name` ("all", or a split's digest) and return its key.

    `source` is a digest of what was counted, for `is_of`.
    """
    key = layout.duplicate_table(dataset, name)
    objects.put(key, _content(table, source))
    return key


def is_of(objects: Objects, key: str, source: str) -> bool:
    """Whether there is a table under `key` that was counted on `source`. Raises NewerSchemaError."""
    try:
        with objects.open(key) as stream, pq.ParquetFile(stream) as file:
            return bool(_about(file, key).get("source") == source)
    except NotFoundError:
        return False


def read(objects: Objects, key: str, classes: int) -> DuplicateTable:
    """The table under `key`. Raises NotFoundError, and ConflictError where it was built for another taxonomy."""
    with objects.open(key) as stream, pq.ParquetFile(stream) as file:
        about = _about(file, key)
        if len(about["class_totals"]) != classes:
            raise ConflictError(f"{key} was built for {len(about['class_totals'])} classes, not for {classes}")
        images = _counts(file, range(about["image_groups"]))
        products = _counts(file, range(about["image_groups"], file.num_row_groups))
        return DuplicateTable(images, products, np.array(about["class_totals"], dtype=np.int64))


def _about(file: pq.ParquetFile, key: str) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(file.schema_arrow.metadata[b"shelver"])
    if about["schema"] > SCHEMA:
        raise NewerSchemaError(f"{key} has schema {about['schema']}: this Shelver reads up to {SCHEMA}")
    return about


def _content(table: DuplicateTable, source: str) -> Iterator[bytes]:
    about = {
        "schema": SCHEMA,
        "source": source,
        "class_totals": table.class_totals.tolist(),
        "image_groups": -(-len(table.images.count) // GROUP_ROWS),
    }
    schema = pa.schema(_FIELDS, metadata={"shelver": json.dumps(about)})
    sink = _Drain()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd", use_dictionary=False) as writer:
        for counts in (table.images, table.products):
            for group in _groups(counts, schema):
                writer.write_table(group, row_group_size=GROUP_ROWS)
                yield sink.drain()
    yield sink.drain()


def _groups(counts: KeyCounts, schema: pa.Schema) -> Iterator[pa.Table]:
    """The entries of `counts` in tables of at most GROUP_ROWS rows."""
    for begin in range(0, len(counts.count), GROUP_ROWS):
        end = min(begin + GROUP_ROWS, len(counts.count))
        row = np.searchsorted(counts.start, np.arange(begin, end), side="right") - 1
        raw = np.ascontiguousarray(counts.key[row]).astype(">u8").tobytes()
        key = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), end - begin, [None, pa.py_buffer(raw)])
        columns = [key, pa.array(counts.class_index[begin:end]), pa.array(counts.count[begin:end])]
        yield pa.Table.from_arrays(columns, schema=schema)


def _counts(file: pq.ParquetFile, groups: range) -> KeyCounts:
    builder = Builder(sum(file.metadata.row_group(number).num_rows for number in groups))
    for number in groups:
        group = file.read_row_group(number).combine_chunks()
        columns = (group.column(name).to_numpy() for name in ("class_index", "count"))
        builder.append(_halves(group.column("key").chunk(0)), *columns)
    return builder.finish()


def _halves(chunk: Any) -> npt.NDArray[np.uint64]:
    """A fixed-size binary array as uint64[n, 2]."""
    raw = np.frombuffer(chunk.buffers()[1], dtype=">u8", count=2 * len(chunk), offset=16 * chunk.offset)
    return raw.reshape(-1, 2).astype(np.uint64)


class _Drain(io.RawIOBase):
    """A sink whose content is taken away piece by piece, so that a table is never held twice."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, content: Any) -> int:
        piece = bytes(content)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def drain(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
