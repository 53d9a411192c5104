"""Bytes to pixels: JPEG by simplejpeg, which releases the GIL; PNG, WebP and whatever it refuses by Pillow."""

from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

Pixels = npt.NDArray[np.uint8]
_SCALES = (4, 2, 1)  # eighths that every JPEG decoder has a fast transform for
_REFUSALS = (ValueError, KeyError)  # simplejpeg's; the second for a header that is cut


class UndecodableError(Exception):
    """A picture that no decoder reads: a fault of the product, never of the attempt."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is decoded, and how large. Counts are pixels (height times width)."""

    cap_pixels: int = 2048 * 2048  # above this a picture is decoded scaled down
    refuse_pixels: int = 100_000_000  # above this it is refused before it is decoded
    smallest: int = 1  # no side is scaled below this: the largest size of any member


class Header(NamedTuple):
    """What is known of a picture before it is decoded; lengths in pixels."""

    height: int
    width: int
    shape: tuple[int, int, int]  # of what `decode` will return
    jpeg: bool  # simplejpeg reads it


def read_header(content: bytes | memoryview, limits: DecodeLimits) -> Header:
    """The header, judged. Raises UndecodableError where `decode` will refuse what it announces."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content, strict=False)
        jpeg = colours in ("YCbCr", "RGB", "Gray")
    except _REFUSALS:
        with _open(content) as picture:
            height, width, jpeg = picture.height, picture.width, False
    if height * width > limits.refuse_pixels:
        raise UndecodableError(f"{width} x {height} pixels are more than {limits.refuse_pixels}")
    if not height * width:
        raise UndecodableError("it has no pixels")
    return Header(height, width, (*_scaled(height, width, limits), 3), jpeg)


def decode(
    content: bytes | memoryview, limits: DecodeLimits, out: Pixels | None = None, header: Header | None = None
) -> Pixels:
    """The picture as uint8 [height, width, 3], RGB; transparency over white, EXIF orientation not applied.

    The size is read from the header and judged before anything is decoded. A damaged or cut JPEG gives what could be
    read. It is put into `out` where that has its shape. `header` is what `read_header` gave, if it was read before.
    Raises UndecodableError.
    """
    header = header or read_header(content, limits)
    if header.jpeg:
        try:
            return _decode_jpeg(content, header, out)
        except _REFUSALS:
            pass  # the tolerant decoder has the last word
    found = _decode_tolerant(content, limits)
    if out is None or out.shape != found.shape:
        return found
    out[:] = found
    return out


def _scaled(height: int, width: int, limits: DecodeLimits) -> tuple[int, int]:
    """The size to decode to: halved up to three times while above the cap and never below `smallest`."""
    best = height, width
    for eighths in _SCALES:
        if best[0] * best[1] <= limits.cap_pixels:
            break
        smaller = -(-height * eighths // 8), -(-width * eighths // 8)
        if min(smaller) < limits.smallest:
            break
        best = smaller
    return best


def _decode_jpeg(content: bytes | memoryview, header: Header, out: Pixels | None) -> Pixels:
    height, width, _ = header.shape
    if (height, width) == (header.height, header.width):
        height = width = 0  # means: as it is
    found: Pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width, strict=False, buffer=out)
    return found


def _open(content: bytes | memoryview) -> ImageFile.ImageFile:
    """The picture, its header read. Not by `Image.open`, whose own size limit is a warning for the whole process."""
    stream = BytesIO(content)
    start = bytes(content[:12])
    try:
        if start.startswith(b"\xff\xd8"):
            return JpegImageFile(stream)
        if start.startswith(b"\x89PNG"):
            return PngImageFile(stream)
        if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
            return WebPImageFile(stream)
    except Exception as error:  # Pillow's plugins raise whatever the bytes led them to
        raise UndecodableError(f"damaged header: {error}") from error
    raise UndecodableError("it is neither JPEG, PNG nor WebP")


def _decode_tolerant(content: bytes | memoryview, limits: DecodeLimits) -> Pixels:
    with _open(content) as picture:
        try:
            whole = _rgb(picture)
        except Exception as error:  # as above
            raise UndecodableError(f"damaged: {error}") from error
        height, _ = _scaled(picture.height, picture.width, limits)
        factor = -(-picture.height // height)
        return np.array(whole.reduce(factor) if factor > 1 else whole)


def _rgb(picture: Image.Image) -> Image.Image:
    """Any mode as RGB. 16-bit grey keeps its upper 8 bits; Pillow would clip it to white."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    covered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", covered.size, "white"), covered).convert("RGB")
