"""Labels corrected later: a new dataset of new indexes over the packs of another one, which stay where they are.

What would be an ingest of the same dump with these labels, without reading or writing a picture: the fingerprint is
the same. Nothing is made before all labels are checked; a relabel that died goes on with the same command.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.ingest.ending import clear, product_rows, publish
from services.ingest.products import Products
from shared import labels as label_files
from shared import layout
from shared.domain import label_sets
from shared.domain.errors import BadInputError, ConflictError
from shared.domain.records import SCHEMA, Ingest
from shared.ingest_requests import check_name
from shared.labels import Labels
from shared.packs import (
    NO_CATEGORY,
    Int64,
    Manifest,
    PackIndex,
    index_to_parquet,
    put_label_sets,
    read_indexes,
    read_label_sets,
    read_manifest,
    read_taxonomy,
)
from shared.ports import Objects

if TYPE_CHECKING:
    from shared.ports import Stores

Report = Callable[[int, int], None]
"""Called with the products that are done, and all that are to do: every product is looked at twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What labels do to a dataset: products with another category, with one for the first time, without one now, and
    with the same as before."""

    changed: int = 0
    added: int = 0
    removed: int = 0
    equal: int = 0


@dataclass(frozen=True, slots=True)
class Relabelled:
    """The new dataset, and how it differs. `skipped`: it was complete already."""

    manifest: Manifest
    changes: Changes
    skipped: bool


def run(
    stores: "Stores",
    dataset: str,
    labels: Path,
    name: str,
    report: Report = lambda _done, _total: None,
    *,
    now: Callable[[], float] = time.time,
) -> Relabelled:
    """Make the dataset `name` of the products of `dataset` with the labels of a CSV (`shared.labels`) put right.

    An empty category takes a product's label away; a product that the file does not name keeps its own. Raises
    NotFoundError; BadInputError for labels that cannot be used, that name a product that is not there or that change
    nothing; ConflictError where `name` was begun as something else. A complete dataset is left as it is.
    """
    check_name("--as", name)
    objects = stores.objects
    manifest = read_manifest(objects, dataset)
    if not manifest.taxonomy:
        reason = "it was ingested without a category table"
        raise BadInputError(f"dataset {dataset}", reason, remedy="ingest it with --categories")
    of_sets = bool(manifest.label_sets)
    given = label_files.read(labels, read_taxonomy(objects, dataset), removals=True, sets=of_sets)
    changes = _changes(objects, manifest, given, report)
    order = Ingest(
        dataset=name,
        source=f"dataset {dataset} by relabel",
        source_identity=f"{manifest.fingerprint} {_digest(given)}",
        processes=1,
        pack_bytes=manifest.pack_bytes,
        allow_bad=0,
        categories=sha256(objects.read(layout.categories(dataset))).hexdigest(),
    )
    stored = stores.catalog.begin_ingest(order)
    _compare(stored, order)
    if stored.state == "complete":
        return Relabelled(_made(objects, name), changes, skipped=True)
    return Relabelled(_make(stores, manifest, given, name, report, now()), changes, skipped=False)


def _made(objects: Objects, name: str) -> Manifest:
    """The dataset that an earlier relabel made. Raises ConflictError where its removal was interrupted."""
    if not objects.exists(layout.manifest(name)):
        words = f"the dataset '{name}' was removed, but not to the end"
        raise ConflictError(f"{words}; finish with `shelver rm dataset {name}`")
    clear(objects, name)
    return read_manifest(objects, name)


def _changes(objects: Objects, manifest: Manifest, labels: Labels, report: Report) -> Changes:
    """Compare labels with what a dataset has. Raises BadInputError for a product that is not there, and for nothing."""
    before = np.full(len(labels), NO_CATEGORY)
    known = np.zeros(len(labels), dtype=np.bool_)
    done = 0
    for _, index in read_indexes(objects, manifest):
        rows, place = _found(index, labels)
        known[place] = True
        before[place] = index.category_id[rows]
        done += len(index)
        report(done, 2 * manifest.products)
    words = f"product {{product}} is not in the dataset '{manifest.dataset}'"
    labels.refuse(~known, words, "correct its id, or take the line out")
    had, has, other = before != NO_CATEGORY, labels.category_id != NO_CATEGORY, before != labels.category_id
    if not other.any():
        reason = f"every label is what the dataset '{manifest.dataset}' has already"
        raise BadInputError(labels.where, reason, remedy="there is nothing to correct")
    return Changes(
        changed=int((had & has & other).sum()),
        added=int((~had & has).sum()),
        removed=int((had & ~has).sum()),
        equal=int((~other).sum()),
    )


def _found(index: PackIndex, labels: Labels) -> tuple[Int64, Int64]:
    """The products of a pack that labels name: their rows in the index, and in the labels."""
    place = np.minimum(np.searchsorted(labels.product_id, index.product_id), len(labels) - 1)
    rows = np.flatnonzero(labels.product_id[place] == index.product_id)
    return rows, place[rows]


def _digest(labels: Labels) -> str:
    """Of what the labels say, in whatever order the file says it."""
    return sha256(labels.product_id.tobytes() + labels.category_id.tobytes()).hexdigest()


def _compare(stored: Ingest, wanted: Ingest) -> None:
    """Raise ConflictError where a dataset of this name is, or was begun as, anything else."""
    if replace(stored, state="", error="") == replace(wanted, state=""):
        return
    done = "is there already" if stored.state == "complete" else "was begun"
    other = "with other labels" if stored.source == wanted.source else f"from {stored.source}"
    raise ConflictError(
        f"the dataset '{wanted.dataset}' {done}, {other}; choose another name, or remove it first with "
        f"`shelver rm dataset {wanted.dataset}`"
    )


def _make(stores: "Stores", manifest: Manifest, labels: Labels, name: str, report: Report, now: float) -> Manifest:
    objects, labelled, done = stores.objects, 0, manifest.products
    needed = {manifest.dataset, *(ref.dataset for ref in manifest.packs)}
    objects.put(layout.relabelling(name), json.dumps({"schema": SCHEMA, "needs": sorted(needed)}).encode())
    objects.put(layout.categories(name), objects.read(layout.categories(manifest.dataset)))

    sets = label_sets.merge([read_label_sets(objects, manifest), labels.sets])
    put_label_sets(objects, name, sets)

    def written() -> Iterator[PackIndex]:
        nonlocal labelled, done
        for ref, before in read_indexes(objects, manifest):
            index = _relabelled(before, labels)
            objects.put(layout.pack_index(name, ref.number), index_to_parquet(index))
            stores.catalog.add_products(product_rows(name, ref.number, index))
            labelled += int(np.count_nonzero(index.category_id != NO_CATEGORY))
            yield index
            done += len(index)
            report(done, 2 * manifest.products)

    products = Products(written())
    made = replace(
        manifest,
        schema=SCHEMA,
        dataset=name,
        fingerprint=products.fingerprint(),
        source=f"dataset {manifest.dataset}, relabelled by {Path(labels.where).name}",
        labelled=labelled,
        label_sets=len(sets),
    )
    publish(objects, stores.catalog, made, now)
    return made


def _relabelled(index: PackIndex, labels: Labels) -> PackIndex:
    rows, place = _found(index, labels)
    category_id = index.category_id.copy()
    category_id[rows] = labels.category_id[place]
    return replace(index, category_id=category_id)
