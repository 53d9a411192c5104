"""What a training dataset already knows of another dataset: shared images, products that duplicates decide."""

from dataclasses import dataclass

import numpy as np

from services.reports.contents import Contents, Int64, Report, classes_of
from services.reports.distribution import CategoryCount
from shared.domain import duplicates
from shared.domain.duplicates import DuplicateTable
from shared.domain.errors import BadInputError
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_classes, read_indexes, read_taxonomy
from shared.ports import Objects

_BLOCK = 2**18  # products decided at once
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Overlap:
    """Counts are products of the described dataset; shares are of all its products.

    Decided: by the policies `images: unique` and `products: unique`, as a scoring job decides them without networks.
    """

    train: str
    train_products: int  # labelled ones: only they are in its duplicate table
    sharing_image: int
    sharing_image_share: float
    decided_by_product: int
    decided_by_images: int
    decided_share: float
    decided_right: int | None  # of the decided ones that have a category here; None where no product has one
    decided_judged: int
    same_id: int
    only_in_train: int | None  # categories with products there and none here; None where no product has a category
    only_here: int | None
    only_in_train_listed: tuple[CategoryCount, ...]  # by products in the dataset that has them
    only_here_listed: tuple[CategoryCount, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Train:
    taxonomy: Taxonomy
    classes: Classes
    table: DuplicateTable
    product_id: Int64
    labelled: int  # products
    products: Int64  # int64[c], per category


def describe_overlap(objects: Objects, contents: Contents, train: Manifest, report: Report) -> Overlap:
    """Hold a dataset against `train`. Raises BadInputError where that says nothing."""
    refuse_itself(contents.manifest, train)
    steps = len(train.packs) + -(-contents.products // _BLOCK)
    known = _read(objects, train, lambda done, _: report(done, steps))
    sharing, by, right, judged = _decide(contents, known, lambda done, _: report(len(train.packs) + done, steps))
    share = 1 / max(contents.products, 1)
    only_train, only_here = _differences(contents, known)
    labelled = bool((contents.class_index >= 0).any())
    return Overlap(
        train=train.dataset,
        train_products=known.labelled,
        sharing_image=sharing,
        sharing_image_share=sharing * share,
        decided_by_product=int(by[duplicates.DECIDED_BY_PRODUCT]),
        decided_by_images=int(by[duplicates.DECIDED_BY_IMAGES]),
        decided_share=int(by[duplicates.DECIDED_BY_PRODUCT] + by[duplicates.DECIDED_BY_IMAGES]) * share,
        decided_right=right if labelled else None,
        decided_judged=judged,
        same_id=len(np.intersect1d(contents.product_id, known.product_id)),
        only_in_train=len(only_train) if labelled else None,
        only_here=len(only_here) if labelled else None,
        only_in_train_listed=tuple(only_train[:_LISTED]) if labelled else (),
        only_here_listed=tuple(only_here[:_LISTED]),
    )


def refuse_itself(manifest: Manifest, train: Manifest) -> None:
    """Raises BadInputError where a dataset would be held against itself or against one without categories."""
    if manifest.fingerprint == train.fingerprint:
        same = "it is the described dataset" if manifest.dataset == train.dataset else "it has the same products"
        raise BadInputError(f"--against {train.dataset}", same, remedy="name the dataset that was trained on")
    if manifest.labelled and train.labelled and bool(manifest.label_sets) != bool(train.label_sets):
        reason = "only one of the two has several labels per product"
        raise BadInputError(f"--against {train.dataset}", reason, remedy="name the dataset that was trained on")
    if not train.taxonomy or not train.labelled:
        reason = "no product has a category, so its duplicates decide nothing"
        raise BadInputError(f"--against {train.dataset}", reason, remedy="name the dataset that was trained on")


def _read(objects: Objects, train: Manifest, report: Report) -> _Train:
    taxonomy = read_taxonomy(objects, train.dataset)
    table = read_classes(objects, train, taxonomy)
    tables: list[DuplicateTable] = []
    ids: list[Int64] = []
    products = np.zeros(taxonomy.classes, dtype=np.int64)
    labelled = 0
    for number, (_, index) in enumerate(read_indexes(objects, train)):
        report(number, len(train.packs))
        classes = classes_of(table, index.category_id)
        tables.append(duplicates.build(classes, index.first_image, index.image_md5, table.classes))
        ids.append(index.product_id)
        known = classes[classes >= 0]
        labelled += len(known)
        said = table.entries(known)[1] if isinstance(table, LabelSets) else known
        products += np.bincount(said, minlength=taxonomy.classes)
    return _Train(taxonomy, table, duplicates.merge(tables), np.concatenate(ids), labelled, products)


def _decide(contents: Contents, train: _Train, report: Report) -> tuple[int, Int64, int, int]:
    """Products that share an image, products by what decides them, and of the decided with a category: right, all."""
    sharing = right = judged = 0
    by = np.zeros(3, dtype=np.int64)
    here = np.full(contents.classes + 1, -1, dtype=np.int64)  # class here -> class there; the last: no category
    table = contents.sets or contents.taxonomy
    if table is not None:
        here[:-1] = train.classes.index_of(table.category_ids)
    blocks = range(0, contents.products, _BLOCK)
    for number, start in enumerate(blocks):
        report(number, len(blocks))
        first = contents.first_image[start : start + _BLOCK + 1]
        md5 = contents.md5[first[0] : first[-1]]
        found = duplicates.decide(train.table, "unique", "unique", first - first[0], md5, None)
        product = contents.product_of[first[0] : first[-1]]
        sharing += len(np.unique(product[train.table.images.find(md5) >= 0]))
        by += np.bincount(found.decided_by, minlength=3)
        mine = contents.class_index[start : start + len(first) - 1]
        judging = (found.decided >= 0) & (mine >= 0)
        right += int((here[mine] == found.decided)[judging].sum())
        judged += int(judging.sum())
    report(len(blocks), len(blocks))
    return sharing, by, right, judged


def _differences(contents: Contents, train: _Train) -> tuple[list[CategoryCount], list[CategoryCount]]:
    """Categories with products only there, and only here, by products."""
    there = _filled(train.taxonomy, train.products)
    here: dict[int, CategoryCount] = {}
    if contents.taxonomy is not None:
        here = _filled(contents.taxonomy, np.bincount(contents.said, minlength=contents.taxonomy.classes))
    return [there[c] for c in there if c not in here], [here[c] for c in here if c not in there]


def _filled(taxonomy: Taxonomy, products: Int64) -> dict[int, CategoryCount]:
    order = np.argsort(-products, kind="stable")
    return {
        int(taxonomy.category_ids[c]): CategoryCount(int(taxonomy.category_ids[c]), taxonomy.paths[c], int(products[c]))
        for c in order[products[order] > 0]
    }
