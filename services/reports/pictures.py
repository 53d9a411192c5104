"""Pictures of a page: the stored bytes of an image, small, as a data: URI. No file of a catalog is ever fatal here."""

import base64
import warnings
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared import layout
from shared.packs import Manifest, read_indexes
from shared.ports import Objects

EDGE = 160
"""Pixels of a thumbnail's longer side: sharp on a phone, about 5 kB."""
LARGEST_PIXELS = 100_000_000
"""A picture above this is never decoded, as in scoring: its header may lie, its pixels need not fit into memory."""
_QUALITY = 80
_PLACEHOLDER = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' fill='#9994'/>"
    "<path d='M5 5l6 6M11 5l-6 6' stroke='#888' stroke-width='1'/></svg>"
)
NOT_A_PICTURE = "data:image/svg+xml;base64," + base64.b64encode(_PLACEHOLDER.encode()).decode()
"""Stands for an image that cannot be decoded."""


def format_of(content: bytes) -> str:
    """What the first bytes say: JPEG, PNG, WebP, GIF or other."""
    if content.startswith(b"\xff\xd8"):
        return "JPEG"
    if content.startswith(b"\x89PNG"):
        return "PNG"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    return "GIF" if content.startswith((b"GIF87a", b"GIF89a")) else "other"


_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
}


def opened(content: bytes) -> ImageFile.ImageFile:
    """The picture, its header read. Raises whatever Pillow's reader makes of damaged bytes; ValueError for no picture.

    Not by `Image.open`, whose own size limit is a warning for the whole process.
    """
    reader = _READERS.get(format_of(content))
    if reader is None:
        raise ValueError("it is neither JPEG, PNG, WebP nor GIF")
    return reader(BytesIO(content))


def rgb(picture: Image.Image) -> Image.Image:
    """Any mode as RGB, as scoring sees it: transparency over white, 16-bit grey by its upper 8 bits."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    covered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", covered.size, "white"), covered).convert("RGB")


def thumbnail(content: bytes, edge: int = EDGE) -> str:
    """A data: URI of the image `content`, its longer side at most `edge` pixels; NOT_A_PICTURE where none is read.

    For one thread: what Pillow warns about odd files is kept quiet by the process's filters.
    """
    try:
        with warnings.catch_warnings(action="ignore"), opened(content) as picture:
            if picture.width * picture.height > LARGEST_PIXELS:
                return NOT_A_PICTURE
            picture.draft("RGB", (edge, edge))
            small = rgb(picture)
            small.thumbnail((edge, edge))
            stream = BytesIO()
            small.save(stream, "JPEG", quality=_QUALITY)
    except Exception:  # Pillow's readers raise whatever the bytes led them to
        return NOT_A_PICTURE
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


class Thumbnails:
    """Thumbnails of a dataset's products, read from its packs."""

    def __init__(self, objects: Objects, manifest: Manifest, edge: int = EDGE) -> None:
        self._objects = objects
        self._manifest = manifest
        self._edge = edge

    def of(self, products: Sequence[int], limit_each: int = 1) -> dict[int, list[str]]:
        """Data: URIs of the first `limit_each` images of each product; unknown products are left out.

        Ask for all products at once: a call reads each pack index at most once, and each picture by one range read.
        """
        wanted = np.unique(np.array(products, dtype=np.int64))
        found: dict[int, list[str]] = {}
        for ref, index in read_indexes(self._objects, self._manifest):
            if len(found) == len(wanted):
                break
            pack = layout.pack(ref.dataset, ref.number)
            for place in np.flatnonzero(np.isin(index.product_id, wanted)):
                first, end = index.first_image[place : place + 2]
                found[int(index.product_id[place])] = [
                    thumbnail(self._objects.read(pack, int(offset), int(length)), self._edge)
                    for offset, length in zip(
                        index.image_offset[first : min(end, first + limit_each)],
                        index.image_length[first : min(end, first + limit_each)],
                        strict=True,
                    )
                ]
        return found
