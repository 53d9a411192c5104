"""Figures of a survey: sizes, formats, damaged and blank images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reports.contents import Contents
from services.reports.looks import BLANK_DEVIATION, CMYK, FORMATS, GREY, PROGRESSIVE, READ_BY_WORKERS, State
from services.reports.survey import Bool, Float64, Share, Survey

_SIZES = 12
_LISTED = 20
_QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


@dataclass(frozen=True, slots=True)
class PixelSize:
    """One size of images in pixels."""

    width: int
    height: int
    share: Share


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the survey saw. Shares are of all images of the dataset; equal images count each time."""

    looked_at: int  # distinct images
    distinct_images: int
    complete: bool
    formats: Mapping[str, Share]
    jpeg: Mapping[str, Share]  # progressive, greyscale, CMYK
    undecodable: Share
    damaged: Share  # JPEG whose pixels are cut; what could be read is scored
    blank: Share
    blank_deviation_below: float  # the threshold, of 255 levels
    distinct_sizes: int  # among the images looked at
    sizes: tuple[PixelSize, ...]  # most frequent first
    width: Mapping[str, float]  # quantiles over images, pixels
    height: Mapping[str, float]
    megapixels: Mapping[str, float]
    undecodable_products: tuple[int, ...]  # the first few that have such an image
    damaged_products: tuple[int, ...]
    blank_products: tuple[int, ...]


def describe_images(contents: Contents, seen: Survey) -> ImageFacts:
    """The figures of a survey."""
    jpeg = seen.format == FORMATS.index("JPEG")
    undecodable, damaged = seen.state == State.UNDECODABLE, seen.state == State.DAMAGED
    measured = seen.width > 0
    weight = seen.weight[measured]
    width, height = seen.width[measured].astype(np.float64), seen.height[measured].astype(np.float64)
    sizes = _sizes(seen, measured)
    return ImageFacts(
        looked_at=len(seen.row),
        distinct_images=seen.distinct,
        complete=seen.complete,
        formats={name: seen.share(seen.format == number) for number, name in enumerate(FORMATS)},
        jpeg={
            "progressive": seen.share(jpeg & (seen.flags & PROGRESSIVE > 0)),
            "greyscale": seen.share(jpeg & (seen.flags & GREY > 0)),
            "CMYK": seen.share(jpeg & (seen.flags & CMYK > 0)),
        },
        undecodable=seen.share(undecodable),
        damaged=seen.share(damaged),
        blank=seen.share(blank(seen)),
        blank_deviation_below=BLANK_DEVIATION,
        distinct_sizes=len(sizes),
        sizes=tuple(sizes[:_SIZES]),
        width=quantiles(width, weight),
        height=quantiles(height, weight),
        megapixels=quantiles(width * height / 1e6, weight),
        undecodable_products=_products(contents, seen, undecodable),
        damaged_products=_products(contents, seen, damaged),
        blank_products=_products(contents, seen, blank(seen)),
    )


def unread_formats(facts: ImageFacts) -> list[str]:
    """Formats that are there but that scoring does not read."""
    return [name for name, share in facts.formats.items() if share.images and name not in READ_BY_WORKERS]


def blank(seen: Survey) -> Bool:
    """Which of the images looked at are of one colour: bool[s]."""
    return seen.deviation < BLANK_DEVIATION


def _sizes(seen: Survey, measured: Bool) -> list[PixelSize]:
    """Every size, by its share; only the most frequent get intervals worked out."""
    code = np.where(measured, seen.width.astype(np.int64) << 32 | seen.height, -1)
    found, number = np.unique(code, return_inverse=True)
    weight = np.bincount(number, weights=seen.weight, minlength=len(found))
    order = np.lexsort((found, -weight))
    order = order[found[order] >= 0]
    nothing = Share(0.0, 0, None, None, 0)
    return [
        PixelSize(
            int(found[at]) >> 32,
            int(found[at]) & 0xFFFFFFFF,
            seen.share(number == at) if rank < _SIZES else nothing,
        )
        for rank, at in enumerate(order)
    ]


def quantiles(values: Float64, weight: npt.NDArray[np.float64]) -> dict[str, float]:
    """Named quantiles of weighted values: the smallest value that at least such a part of the weight lies at or below.

    All 0 where there are no values.
    """
    if not len(values):
        return dict.fromkeys(_QUANTILES, 0.0)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    # a part of the sum may miss it by a rounding error, which must not move to the next value
    places = [np.searchsorted(below, part * below[-1] * (1 - 1e-12)) for part in _QUANTILES.values()]
    return {name: float(values[order[place]]) for name, place in zip(_QUANTILES, places, strict=True)}


def _products(contents: Contents, seen: Survey, which: Bool) -> tuple[int, ...]:
    products = contents.product_of[np.sort(seen.row[which])]
    return tuple(contents.product_id[list(dict.fromkeys(products.tolist()))[:_LISTED]].tolist())
