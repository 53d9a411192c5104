"""One look at one image file: format, size, kind, whether it is whole, and whether it shows anything."""

import math
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock

import numpy as np
from PIL import Image

from services.reports.pictures import format_of, opened, rgb

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "other")
READ_BY_WORKERS = ("JPEG", "PNG", "WebP")
PROGRESSIVE, GREY, CMYK = 1, 2, 4
"""Flags of a JPEG file."""
BLANK_DEVIATION = 2.0
"""An image is blank where the standard deviation of each of red, green and blue is below this (of 255 levels)."""
_LOOKED_AT = 64  # pixels of the shorter side that are enough to tell a blank image: JPEG is decoded no larger
_LARGE_PIXELS = 16_000_000  # of these one at a time is decoded, so that memory does not grow with the threads
_large = Lock()


class State(IntEnum):
    """Whether scoring can read an image."""

    WHOLE = 0
    DAMAGED = 1  # a JPEG whose pixels are cut: what could be read is scored
    UNDECODABLE = 2  # the product gets an error where it has no other image


@dataclass(frozen=True, slots=True)
class Look:
    """What one file is; sizes are 0 where no header was read, `deviation` infinite where no pixels were."""

    format: int  # position in FORMATS
    width: int = 0
    height: int = 0
    flags: int = 0
    state: State = State.UNDECODABLE
    deviation: float = math.inf  # the largest of the three channels'


def look(content: bytes, refuse_pixels: int) -> Look:
    """Look at one file; never fails. Pictures above `refuse_pixels` are refused as in scoring, before they are decoded.

    JPEG is decoded at an eighth of its size or so, by its decoder's own scaling.
    """
    kind = format_of(content)
    number = FORMATS.index(kind)
    try:
        picture = opened(content)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise whatever the bytes led them to
        return Look(number)
    with picture:
        width, height = picture.size
        flags = _flags(picture) if kind == "JPEG" else 0
        if kind not in READ_BY_WORKERS or not 0 < width * height <= refuse_pixels:
            return Look(number, width, height, flags)
        try:
            deviation = _deviation(picture)
        except MemoryError:
            raise
        except Exception:  # as above
            return Look(number, width, height, flags, State.DAMAGED if kind == "JPEG" else State.UNDECODABLE)
        return Look(number, width, height, flags, State.WHOLE, deviation)


def _flags(picture: Image.Image) -> int:
    progressive = PROGRESSIVE if picture.info.get("progressive") else 0
    return progressive | {"L": GREY, "CMYK": CMYK}.get(picture.mode, 0)


def _deviation(picture: Image.Image) -> float:
    if picture.width * picture.height <= _LARGE_PIXELS:
        return _decoded_deviation(picture)
    with _large:
        return _decoded_deviation(picture)


def _decoded_deviation(picture: Image.Image) -> float:
    picture.draft("RGB", (_LOOKED_AT, _LOOKED_AT))
    counts = np.array(rgb(picture).histogram(), dtype=np.float64).reshape(3, 256)
    levels = np.arange(256)
    pixels = counts.sum(axis=1)
    mean = counts @ levels / pixels
    return float(np.sqrt(np.maximum(counts @ levels**2 / pixels - mean**2, 0)).max())
