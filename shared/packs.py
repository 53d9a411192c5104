"""A dataset as it lies in the object store: manifest, category table, and pack indexes, Parquet to arrays and back."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import starmap
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from shared import layout
from shared.domain import label_sets
from shared.domain.errors import BadInputError, FailedError, NewerSchemaError, NotFoundError
from shared.domain.label_sets import Classes, Labels
from shared.domain.records import SCHEMA, Record
from shared.domain.taxonomy import Taxonomy
from shared.domain.taxonomy import parse as parse_taxonomy
from shared.ports import Objects

T = TypeVar("T")
Int64 = npt.NDArray[np.int64]
NO_CATEGORY = np.iinfo(np.int64).min
"""Stands for "no category" in arrays of category ids (a document holds an int32 or any smaller int64)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRef:
    """One pack of a manifest. `dataset` is where its bytes lie, which is another one after a relabel."""

    number: int
    dataset: str
    bytes: int
    products: int
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadDocument:
    """What an ingest left out: where in the dump, and why."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Record):
    """The full account of a dataset; immutable."""

    dataset: str
    fingerprint: str
    source: str
    products: int
    images: int
    labelled: int
    bytes: int
    repeated: int
    unrecognised: int = 0  # images in the packs that do not begin like a JPEG, PNG or WebP file
    taxonomy: str  # fingerprint of the category file's class order; empty without one
    label_sets: int = 0  # distinct ones of a multilabel dataset; 0: a product has one category
    pack_bytes: int
    packs: tuple[PackRef, ...] = field(default=())
    bad: tuple[BadDocument, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class PackIndex:
    """One pack's index as arrays. n products, m images; products stand in dump order, images by product.

    Offsets count bytes from the start of the pack. Image i of product p is row `first_image[p] + i`.
    """

    product_id: Int64  # int64[n]
    offset: Int64  # int64[n]
    length: Int64  # int64[n]
    category_id: Int64  # int64[n], NO_CATEGORY where the document has none; of a multilabel dataset its set's number
    first_image: Int64  # int64[n + 1]
    image_offset: Int64  # int64[m]
    image_length: Int64  # int64[m]
    image_md5: npt.NDArray[np.uint64]  # uint64[m, 2], the digest's two big-endian halves

    def __len__(self) -> int:
        return len(self.product_id)

    @property
    def images(self) -> int:
        """Rows of the image arrays."""
        return len(self.image_offset)

    def slice(self, start: int, stop: int) -> "PackIndex":
        """Products `start` up to `stop`, offsets unchanged."""
        first = self.first_image[start : stop + 1]
        a, b = int(first[0]), int(first[-1])
        return PackIndex(
            self.product_id[start:stop],
            self.offset[start:stop],
            self.length[start:stop],
            self.category_id[start:stop],
            first - a,
            self.image_offset[a:b],
            self.image_length[a:b],
            self.image_md5[a:b],
        )

    def take(self, keep: npt.NDArray[np.bool_]) -> "PackIndex":
        """The products where `keep` (bool[n]) holds."""
        counts = np.diff(self.first_image)
        image_keep = np.repeat(keep, counts)
        return PackIndex(
            self.product_id[keep],
            self.offset[keep],
            self.length[keep],
            self.category_id[keep],
            np.concatenate([[0], np.cumsum(counts[keep])]).astype(np.int64),
            self.image_offset[image_keep],
            self.image_length[image_keep],
            self.image_md5[image_keep],
        )


_SCHEMA = pa.schema(
    [
        pa.field("product_id", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("category_id", pa.int64()),
        pa.field("image_offsets", pa.list_(pa.int64()), nullable=False),
        pa.field("image_lengths", pa.list_(pa.int64()), nullable=False),
        pa.field("image_md5s", pa.list_(pa.binary(16)), nullable=False),
    ],
    metadata={"schema": str(SCHEMA)},
)


def index_to_parquet(index: PackIndex) -> bytes:
    """The index as a Parquet file; equal indexes give equal bytes."""
    first = pa.array(index.first_image.astype(np.int32))
    md5 = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), index.images, [None, pa.py_buffer(np.ascontiguousarray(index.image_md5).astype(">u8").tobytes())]
    )
    columns = [
        pa.array(index.product_id),
        pa.array(index.offset),
        pa.array(index.length),
        pa.array(index.category_id, mask=index.category_id == NO_CATEGORY),
        pa.ListArray.from_arrays(first, pa.array(index.image_offset)),
        pa.ListArray.from_arrays(first, pa.array(index.image_length)),
        pa.ListArray.from_arrays(first, md5),
    ]
    sink = BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def index_from_parquet(content: bytes) -> PackIndex:
    """The arrays of a Parquet index. Raises NewerSchemaError."""
    column = _columns(content, None)
    offsets, lengths, md5s = column("image_offsets"), column("image_lengths"), column("image_md5s")
    raw = md5s.flatten()  # its bytes as they stand: an object for each takes several times as many
    halves = np.frombuffer(raw.buffers()[1] or b"", dtype=">u8", count=2 * len(raw), offset=16 * raw.offset)
    return PackIndex(
        column("product_id").to_numpy(),
        column("offset").to_numpy(),
        column("length").to_numpy(),
        column("category_id").fill_null(int(NO_CATEGORY)).to_numpy(zero_copy_only=False),
        np.asarray(offsets.offsets, dtype=np.int64) - (offsets.offsets[0].as_py() if len(offsets) else 0),
        offsets.flatten().to_numpy(),
        lengths.flatten().to_numpy(),
        halves.reshape(-1, 2).astype(np.uint64),
    )


def _ids_from_parquet(content: bytes) -> Int64:
    return np.asarray(_columns(content, ["product_id"])("product_id"))


def _columns(content: bytes, names: list[str] | None) -> Callable[[str], Any]:
    """Gives columns by name; `names` are those that are read, None: all."""
    # not pq.read_table: its threads may outlive the call, and one that lets go of a Python object while the interpreter
    # ends aborts the process (apache/arrow#34314)
    table = pq.ParquetFile(pa.BufferReader(content)).read(names, use_threads=False).combine_chunks()
    if (written_by := int(table.schema.metadata[b"schema"])) > SCHEMA:
        raise NewerSchemaError(f"pack index of schema {written_by}: this Shelver reads up to {SCHEMA}")

    def column(name: str) -> Any:
        chunked = table.column(name)
        return chunked.chunk(0) if chunked.num_chunks else pa.array([], type=chunked.type)

    return column


def manifest_of(plain: Mapping[str, Any]) -> Manifest:
    """The manifest of its JSON values. Raises NewerSchemaError."""
    manifest = Manifest.from_plain(plain)
    packs = tuple(PackRef(**ref) for ref in plain["packs"])
    return replace(manifest, packs=packs, bad=tuple(BadDocument(**bad) for bad in plain["bad"]))


def read_manifest(objects: Objects, dataset: str) -> Manifest:
    """The manifest of a complete dataset. Raises NotFoundError with what to do, FailedError for a damaged one."""
    key = layout.manifest(dataset)
    try:
        content = objects.read(key)
    except (NotFoundError, BadInputError):  # the second for a name that no object can have
        raise NotFoundError(f"there is no dataset '{dataset}'; ingest it first, or see `shelver datasets`") from None
    try:
        return manifest_of(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(key, error) from error


def read_taxonomy(objects: Objects, dataset: str) -> Taxonomy:
    """The category table of a dataset that has one. Raises NotFoundError, and BadInputError for a damaged one."""
    key = layout.categories(dataset)
    return parse_taxonomy(objects.read(key), key)


def read_label_sets(objects: Objects, manifest: Manifest) -> dict[int, Labels]:
    """The label sets of a multilabel dataset by their numbers; none of another one. Raises NotFoundError."""
    if not manifest.label_sets:
        return {}
    table = pq.ParquetFile(pa.BufferReader(objects.read(layout.label_sets(manifest.dataset)))).read(use_threads=False)
    ids, labels = table.column("set_id").to_pylist(), table.column("category_ids").to_pylist()
    return {number: tuple(of_set) for number, of_set in zip(ids, labels, strict=True)}


def put_label_sets(objects: Objects, dataset: str, sets: Mapping[int, Labels]) -> None:
    """Store what `read_label_sets` reads, where there are any; equal sets give equal bytes."""
    if sets:
        columns = [pa.array(list(sets), pa.int64()), pa.array([list(s) for s in sets.values()], pa.list_(pa.int64()))]
        sink = BytesIO()
        pq.write_table(pa.table(columns, names=["set_id", "category_ids"]), sink, compression="zstd")
        objects.put(layout.label_sets(dataset), sink.getvalue())


def read_classes(objects: Objects, manifest: Manifest, taxonomy: Taxonomy) -> Classes:
    """What the category ids of a dataset's products name: its label sets, or rows of `taxonomy`."""
    sets = read_label_sets(objects, manifest)
    return label_sets.build(sets, taxonomy) if sets else taxonomy


def read_index(objects: Objects, dataset: str, ref: PackRef) -> PackIndex:
    """The index of one pack of `dataset`. Raises NotFoundError, FailedError for a damaged one."""
    return _parsed(objects, dataset, ref, index_from_parquet)


def _parsed(objects: Objects, dataset: str, ref: PackRef, parse: Callable[[bytes], T]) -> T:
    key = layout.pack_index(dataset, ref.number)
    content = objects.read(key)
    try:
        return parse(content)
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise _damaged(key, error) from error


def read_products(objects: Objects, ref: PackRef, begin: int, end: int) -> bytes:
    """Bytes [begin, end) of a pack. Raises NotFoundError, FailedError where it ends before them."""
    key = layout.pack(ref.dataset, ref.number)
    content = objects.read(key, begin, end - begin)
    if len(content) < end - begin:  # else its last products would be blamed
        raise FailedError(f"{key} ends before offset {end}; restore it, or ingest again")
    return content


def _damaged(key: str, error: Exception) -> FailedError:
    return FailedError(f"{key} is damaged ({error}); restore it, or ingest again")


def read_indexes(objects: Objects, manifest: Manifest) -> Iterator[tuple[PackRef, PackIndex]]:
    """Every pack's index in dump order."""
    for ref in manifest.packs:
        yield ref, read_index(objects, manifest.dataset, ref)


def read_product_ids(objects: Objects, manifest: Manifest) -> Iterator[Int64]:
    """Every pack's product ids in dump order, a fraction of its index. Raises as `read_index`."""
    return (_parsed(objects, manifest.dataset, ref, _ids_from_parquet) for ref in manifest.packs)


def map_indexes(objects: Objects, manifest: Manifest, take: Callable[[PackRef, PackIndex], T]) -> Iterator[T]:
    """What `take` makes of every pack's index, in dump order; one index at a time is in memory.

    A loop over `read_indexes` holds two: its variable keeps one while the next is read.
    """
    return starmap(take, read_indexes(objects, manifest))
