"""A dataset's indexes as arrays: what a description counts, without a look at any picture.

About 40 bytes per image and 20 per product: 12 million images of 7 million products take 0.6 GiB.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.domain.digests import UInt64
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_classes, read_indexes, read_taxonomy
from shared.ports import Objects

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

Report = Callable[[int, int], None]
"""Called with what is done and the total."""


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """n products in dump order and their m images; images of product p: rows `first_image[p]` to `first_image[p + 1]`.

    `pack` is a position in `manifest.packs`, offsets and lengths are bytes there.
    """

    manifest: Manifest
    taxonomy: Taxonomy | None  # None without categories
    product_id: Int64  # int64[n]
    class_index: Int32  # int32[n], -1 without a category; of a multilabel dataset the row of its set
    first_image: Int64  # int64[n + 1]
    md5: UInt64  # uint64[m, 2]
    pack: Int32  # int32[m]
    offset: Int64  # int64[m]
    length: Int64  # int64[m]
    sets: LabelSets | None = None  # of a multilabel dataset
    product_of: Int32 = field(init=False)  # int32[m]

    def __post_init__(self) -> None:
        products = np.repeat(np.arange(len(self.product_id), dtype=np.int32), np.diff(self.first_image))
        object.__setattr__(self, "product_of", products)

    @property
    def products(self) -> int:
        """Number of products."""
        return len(self.product_id)

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.md5)

    @property
    def classes(self) -> int:
        """Number of categories in the table, or of label sets."""
        table = self.sets or self.taxonomy
        return 0 if table is None else table.classes

    @property
    def said(self) -> Int32:
        """The category of every labelled product, or each of its labels: int32[k], rows of the category table."""
        labelled = self.class_index[self.class_index >= 0]
        return labelled if self.sets is None else self.sets.entries(labelled)[1]


def taxonomy_of(objects: Objects, manifest: Manifest) -> Taxonomy | None:
    """The dataset's category table; None where it was ingested without one."""
    return read_taxonomy(objects, manifest.dataset) if manifest.taxonomy else None


def read(objects: Objects, manifest: Manifest, report: Report) -> Contents:
    """Read every pack index of a dataset; `report` counts packs."""
    taxonomy = taxonomy_of(objects, manifest)
    classes = None if taxonomy is None else read_classes(objects, manifest, taxonomy)
    products, images = manifest.products, manifest.images
    product_id, category = np.empty(products, np.int64), np.empty(products, np.int64)
    counts = np.empty(products, np.int64)
    md5, pack = np.empty((images, 2), np.uint64), np.empty(images, np.int32)
    offset, length = np.empty(images, np.int64), np.empty(images, np.int64)
    product = image = 0
    for number, (_, index) in enumerate(read_indexes(objects, manifest)):
        report(number, len(manifest.packs))
        mine = slice(product, product + len(index))
        product_id[mine], category[mine] = index.product_id, index.category_id
        counts[mine] = np.diff(index.first_image)
        ours = slice(image, image + index.images)
        md5[ours], pack[ours] = index.image_md5, number
        offset[ours], length[ours] = index.image_offset, index.image_length
        product, image = mine.stop, ours.stop
    report(len(manifest.packs), len(manifest.packs))
    return Contents(
        manifest=manifest,
        taxonomy=taxonomy,
        sets=classes if isinstance(classes, LabelSets) else None,
        product_id=product_id,
        class_index=classes_of(classes, category),
        first_image=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        md5=md5,
        pack=pack,
        offset=offset,
        length=length,
    )


def classes_of(classes: Classes | None, category_id: Int64) -> Int32:
    """Class index of each product, -1 without a category: int64[n] -> int32[n]."""
    if classes is None:
        return np.full(len(category_id), -1, dtype=np.int32)
    return classes.index_of(category_id).astype(np.int32)
