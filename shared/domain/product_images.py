"""What a member does with the images of one product: of how many it sees products at all, and whether it answers once
for all of them.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRange:
    """The products that a member learns from and answers for: those of so many images, as they stand in the dump."""

    least: int = 1
    most: int = 0  # 0: any number

    def holds(self, images: Int64) -> Bool:
        """Which of these numbers of images are in the range: int64[n] -> bool[n]."""
        enough = images >= self.least
        return enough & (images <= self.most) if self.most else enough


EVERY_PRODUCT = ImageRange()


JointKind = Literal["none", "tiled", "fused"]
Fusion = Literal["gated", "maximum"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """How a member answers once for a product, from its first `most` images that can be decoded.

    `tiled`: they stand in a square grid, each place of which is a tile of the input; places without an image have the
    padding's colour. `fused`: of what the network says of each image, pooled, the sum through gates that the image
    itself opens, or the maximum; a dense layer answers.
    """

    kind: JointKind = "none"
    most: int = 4
    by: Fusion = "gated"  # of fused

    @property
    def side(self) -> int:
        """Tiles per side of a grid."""
        return math.isqrt(self.most)


EACH_IMAGE = Joint()


def uncovered(ranges: Collection[ImageRange]) -> int:
    """The smallest number of images that no range holds; 0 where there is none."""
    images = 1
    while holding := [one for one in ranges if one.least <= images and (not one.most or images <= one.most)]:
        if not all(one.most for one in holding):
            return 0
        images = max(one.most for one in holding) + 1
    return images
