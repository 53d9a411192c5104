"""Duplicate tables of a dataset and of its splits, built from pack indexes."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from shared import duplicate_tables, layout
from shared.domain import duplicates, splits
from shared.domain.digests import digest
from shared.domain.ensemble import Split
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_classes, read_indexes
from shared.ports import Objects

ALL = "all"


def ensure_tables(objects: Objects, manifest: Manifest, taxonomy: Taxonomy, wanted: Iterable[Split]) -> str:
    """Write the tables that are not there yet: of all labelled products, and of each split's training part.

    A table that was counted on another content of the same name is replaced. Returns the key of the table of all.
    """
    source = digest([manifest.fingerprint, taxonomy.fingerprint])
    missing: dict[str, Split | None] = {ALL: None} | {split.digest: split for split in wanted}
    missing = {
        name: split
        for name, split in missing.items()
        if not duplicate_tables.is_of(objects, layout.duplicate_table(manifest.dataset, name), source)
    }
    parts: dict[str, list[duplicates.DuplicateTable]] = {name: [] for name in missing}
    table = read_classes(objects, manifest, taxonomy)
    for _, index in read_indexes(objects, manifest) if missing else ():
        classes = table.index_of(index.category_id).astype(np.int32)
        for name, split in missing.items():
            counted = classes
            if split is not None:
                part = splits.assign(split, index.product_id, index.first_image, index.image_md5)
                counted = np.where(part == splits.TRAINING, classes, -1).astype(np.int32)
            parts[name].append(duplicates.build(counted, index.first_image, index.image_md5, table.classes))
    for name, tables in parts.items():
        duplicate_tables.write(objects, manifest.dataset, name, duplicates.merge(tables), source=source)
    return layout.duplicate_table(manifest.dataset, ALL)


def count_parts(objects: Objects, manifest: Manifest, split: Split) -> dict[str, Any]:
    """Products and images of each part of a split; images of which a split drops duplicates are left out."""
    indexes = [index for _, index in read_indexes(objects, manifest)]
    counts = np.concatenate([np.diff(index.first_image) for index in indexes])
    first_image = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    product_id = np.concatenate([index.product_id for index in indexes])
    md5 = np.concatenate([index.image_md5 for index in indexes])
    part = splits.assign(split, product_id, first_image, md5)
    kept = splits.undropped(split, part, first_image, md5)
    product = np.repeat(np.arange(len(counts)), counts)
    found: dict[str, Any] = {}
    for name, code in (("training", splits.TRAINING), ("holdout", splits.HOLDOUT), ("blend", splits.BLEND)):
        mine = kept & (part[product] == code)
        found[f"{name}_products"] = len(np.unique(product[mine]))
        found[f"{name}_images"] = int(mine.sum())
    watched = splits.watch(split.seed, product_id) & (part == splits.TRAINING)
    return found | {"watch_products": int(watched.sum())}
