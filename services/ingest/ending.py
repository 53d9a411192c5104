"""The end of an ingest: repeated products, final indexes, fingerprint, rows, and the manifest last.

Every step gives the same result again, so an ingest that dies here is ended by the next one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np

from services.ingest.pack_writer import PackAccount
from services.ingest.products import Products
from services.ingest.sources import Categories, Source
from shared import layout
from shared.domain import label_sets
from shared.domain.errors import BadInputError
from shared.domain.label_sets import Labels
from shared.domain.records import Dataset, Ingest, ProductRow
from shared.packs import (
    NO_CATEGORY,
    BadDocument,
    Int64,
    Manifest,
    PackIndex,
    PackRef,
    index_to_parquet,
    put_label_sets,
)
from shared.ports import Catalog, Objects


def read_columns(objects: Objects, dataset: str, number: int) -> PackIndex:
    """The index of a pack as it was written, repeated products included."""
    with np.load(BytesIO(objects.read(layout.ingest_columns(dataset, number)))) as arrays:
        return PackIndex(
            arrays["product_id"],
            arrays["offset"],
            arrays["length"],
            arrays["category_id"],
            np.concatenate([[0], np.cumsum(arrays["images"])]).astype(np.int64),
            arrays["image_offset"],
            arrays["image_length"],
            arrays["image_md5"].view(">u8").reshape(-1, 2).astype(np.uint64),
        )


def read_sets(objects: Objects, dataset: str, number: int) -> dict[int, Labels]:
    """The label sets of a pack by their numbers."""
    with np.load(BytesIO(objects.read(layout.ingest_columns(dataset, number)))) as arrays:
        stored = arrays["sets"].tobytes() if "sets" in arrays else b"[]"  # none in those of earlier releases
    return {number: tuple(labels) for number, labels in json.loads(stored)}


def close(
    objects: Objects,
    catalog: Catalog,
    ingest: Ingest,
    source: Source,
    accounts: Sequence[PackAccount],
    products: Products,
    categories: Categories | None,
    now: float,
    rate: Callable[[], float],
) -> Manifest:
    """Make a dataset of the packs that are written, whose `products` have their rows already.

    `rate`: bytes per second until now, 0 where that is not known.

    Raises BadInputError for a repeated product with other content, and where no product is left.
    """
    dataset = ingest.dataset
    bounds = np.concatenate([[0], np.cumsum([account.documents for account in accounts])]).astype(np.int64)
    if not bounds[-1]:
        raise _nothing(source, accounts)
    bad = _bad_documents(objects, source, ingest, accounts, products, bounds)
    sets = label_sets.merge(read_sets(objects, dataset, account.number) for account in accounts)
    if sets:
        _refuse_mixture(objects, source, dataset, accounts, sets)
    put_label_sets(objects, dataset, sets)
    refs, labelled = _write_indexes(objects, dataset, accounts, np.sort(products.repeated), bounds)
    if categories is not None:
        objects.put(layout.categories(dataset), categories.content)
    manifest = Manifest(
        dataset=dataset,
        fingerprint=products.fingerprint(),
        source=source.name,
        labelled=labelled,
        **{name: sum(getattr(ref, name) for ref in refs) for name in ("products", "images", "bytes")},
        repeated=len(products.repeated) - int(np.count_nonzero(products.conflicting)),
        unrecognised=sum(account.unrecognised for account in accounts),
        taxonomy="" if categories is None else categories.taxonomy.fingerprint,
        label_sets=len(sets),
        pack_bytes=ingest.pack_bytes,
        packs=tuple(refs),
        bad=tuple(bad),
    )
    publish(objects, catalog, manifest, now, rate())
    return manifest


def _refuse_mixture(
    objects: Objects, source: Source, dataset: str, accounts: Sequence[PackAccount], sets: Mapping[int, Labels]
) -> None:
    numbers = np.array([*sets, NO_CATEGORY])
    for account in accounts:
        index = read_columns(objects, dataset, account.number)
        for row in np.flatnonzero(~np.isin(index.category_id, numbers)):
            reason = f"product {index.product_id[row]} has category_id, and others have category_ids"
            raise BadInputError(source.name, reason, remedy="write category_ids: [ID, ...] for every product")


def publish(objects: Objects, catalog: Catalog, manifest: Manifest, now: float, rate: float = 0.0) -> None:
    """Make a dataset of which everything else is written visible: its manifest, then its rows."""
    objects.put(layout.manifest(manifest.dataset), json.dumps(manifest.plain(), indent=1).encode())
    catalog.add_dataset(_row(manifest, now))
    catalog.end_ingest(manifest.dataset, "complete", rate=rate)
    clear(objects, manifest.dataset)


def clear(objects: Objects, dataset: str) -> None:
    """Remove an ingest's work files."""
    for key in objects.list(layout.ingest_prefix(dataset)):
        objects.delete(key)


def _nothing(source: Source, accounts: Sequence[PackAccount]) -> BadInputError:
    bad = [entry for account in accounts for entry in account.bad]
    if not bad:
        return BadInputError(source.name, "it is empty", position="offset 0", remedy="check what writes it")
    position, reason = source.place(*bad[0])
    return BadInputError(
        source.name, f"no product is left: {reason}", position=position, remedy="check that this is a product dump"
    )


def _bad_documents(
    objects: Objects,
    source: Source,
    ingest: Ingest,
    accounts: Sequence[PackAccount],
    products: Products,
    bounds: Int64,
) -> list[BadDocument]:
    """What the walks refused and the products repeated with other content, in dump order."""
    found = [(offset, source.place(offset, reason)) for account in accounts for offset, reason in account.bad]

    def offset_of(place: int) -> tuple[int, int]:
        pack = int(np.searchsorted(bounds, place, side="right")) - 1
        with np.load(BytesIO(objects.read(layout.ingest_columns(ingest.dataset, accounts[pack].number)))) as arrays:
            row = place - int(bounds[pack])
            return int(arrays["position"][row]), int(arrays["product_id"][row])

    conflicts = np.flatnonzero(products.conflicting)
    for at in conflicts[np.argsort(products.repeated[conflicts])]:
        offset, product_id = offset_of(int(products.repeated[at]))
        first, _ = source.place(offset_of(int(products.first[at]))[0], "")
        place, reason = source.place(
            offset, f"product {product_id} is at {first} already, with other images or another category"
        )
        if len(found) >= ingest.allow_bad:
            remedy = "remove one of the two, or leave such documents out with --allow-bad N"
            raise BadInputError(source.name, reason, position=place, remedy=remedy)
        found.append((offset, (place, reason)))
    found.sort()
    return [
        BadDocument(offset=offset, reason=reason if place == f"offset {offset}" else f"{place}: {reason}")
        for offset, (place, reason) in found
    ]


def _write_indexes(
    objects: Objects, dataset: str, accounts: Sequence[PackAccount], repeated: Int64, bounds: Int64
) -> tuple[list[PackRef], int]:
    """Write the final indexes and remove what an interrupted ingest left beside them; packs, and labelled products."""
    refs: list[PackRef] = []
    labelled = 0
    last = max(number for number, account in enumerate(accounts) if account.documents)
    for account, begin, end in zip(accounts[: last + 1], bounds[:-1], bounds[1:], strict=False):
        raw = read_columns(objects, dataset, account.number)
        keep = np.ones(len(raw), dtype=np.bool_)
        keep[repeated[np.searchsorted(repeated, begin) : np.searchsorted(repeated, end)] - begin] = False
        index = raw.take(keep)
        objects.put(layout.pack_index(dataset, account.number), index_to_parquet(index))
        labelled += int(np.count_nonzero(index.category_id != NO_CATEGORY))
        refs.append(
            PackRef(
                number=account.number, dataset=dataset, bytes=account.bytes, products=len(index), images=index.images
            )
        )
    kept = {key(dataset, ref.number) for ref in refs for key in (layout.pack, layout.pack_index)}
    for key in objects.list(layout.pack_prefix(dataset)):
        if key not in kept:
            objects.delete(key)
    return refs, labelled


def product_rows(dataset: str, pack: int, index: PackIndex) -> Iterator[ProductRow]:
    """The rows of the products of a pack."""
    columns = (index.product_id, index.category_id, index.offset, index.length, np.diff(index.first_image))
    for product_id, category_id, offset, length, images in zip(*(column.tolist() for column in columns), strict=True):
        yield ProductRow(
            dataset=dataset,
            id=product_id,
            category_id=None if category_id == NO_CATEGORY else category_id,
            pack=pack,
            offset=offset,
            length=length,
            images=images,
        )


def _row(manifest: Manifest, now: float) -> Dataset:
    return Dataset(
        name=manifest.dataset,
        fingerprint=manifest.fingerprint,
        products=manifest.products,
        images=manifest.images,
        labelled=manifest.labelled,
        bytes=manifest.bytes,
        repeated=manifest.repeated,
        bad=len(manifest.bad),
        taxonomy=manifest.taxonomy,
        created=now,
    )
