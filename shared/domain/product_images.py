"""What a member does with the images of one product: of how many it sees products at all."""

from collections.abc import Collection
from dataclasses import dataclass

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


def uncovered(ranges: Collection[ImageRange]) -> int:
    """The smallest number of images that no range holds; 0 where there is none."""
    images = 1
    while holding := [one for one in ranges if one.least <= images and (not one.most or images <= one.most)]:
        if not all(one.most for one in holding):
            return 0
        images = max(one.most for one in holding) + 1
    return images
