"""Small multilabel datasets of coloured pictures, made of those with one category."""

import json
from dataclasses import replace

import numpy as np

from shared import layout
from shared.domain.label_sets import Labels, merge, set_id
from shared.packs import Manifest, index_to_parquet, put_label_sets, read_index
from shared.ports import Objects

LABELS: tuple[Labels, ...] = ((1000,), (1000, 1001), (1001, 1002))
"""Those of products whose id leaves 0, 1 or 2 when divided by 3, as their colours do."""


def relabelled(objects: Objects, manifest: Manifest) -> Manifest:
    """A dataset of `make_dataset` with label sets instead of categories, under its own name."""
    sets = merge([{set_id(labels): labels for labels in LABELS}])
    (ref,) = manifest.packs
    index = read_index(objects, manifest.dataset, ref)
    numbers = np.array([set_id(labels) for labels in LABELS])[index.product_id % 3]
    objects.put(layout.pack_index(manifest.dataset, 0), index_to_parquet(replace(index, category_id=numbers)))
    put_label_sets(objects, manifest.dataset, sets)
    made = replace(manifest, label_sets=len(sets), fingerprint=f"{manifest.fingerprint[:12]}sets")
    objects.put(layout.manifest(manifest.dataset), json.dumps(made.plain()).encode())
    return made
