"""What a member learns from, and answers for, one at a time: an image, or a product with its first images."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shared.domain.product_images import Joint
from workers.training.dataset import Images, Int64
from workers.vision.joint import grouped, ranks


@dataclass(frozen=True)
class Units:
    """The units of images in dump order. Of an ordinary member unit and image are the same."""

    images: Images
    joint: Joint

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def first(self) -> Int64:
        """The row of each unit's first image: int64[units]."""
        if self.joint.kind == "none":
            return np.arange(len(self.images))
        return grouped(self.images.product_id)[0]

    @cached_property
    def heads(self) -> Images:
        """The first image of each unit, from which its place in an epoch comes."""
        return self.images if self.joint.kind == "none" else self.images.take(self.first)

    def rows(self, units: Int64, without: Collection[int] = ()) -> Int64:
        """The rows of the images of these units, those of a unit together: of a product the first ones that are not
        among `without`."""
        lost = list(without)
        if self.joint.kind == "none":
            return units[~np.isin(units, lost)]
        ends = np.append(self.first, len(self.images))
        lengths = ends[units + 1] - ends[units]
        starts = np.repeat(self.first[units] - (np.cumsum(lengths) - lengths), lengths)
        rows, unit = starts + np.arange(int(lengths.sum())), np.repeat(np.arange(len(units)), lengths)
        there = ~np.isin(rows, lost)
        rows, unit = rows[there], unit[there]
        return rows[ranks(unit) < self.joint.most]

    def count(self, rows: Int64) -> int:
        """How many units these rows, those of a unit together, are of."""
        return len(rows) if self.joint.kind == "none" else len(grouped(self.images.product_id[rows], rows)[0])
