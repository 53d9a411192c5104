"""A home for hand-made catalogs, pictures of every kind, and a check of pages."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import numpy as np
from PIL import Image

from services.ingest import IngestRequest, run
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.packs import Manifest
from shared.settings import IngestSettings, Settings

# names repeat across branches, and one must be escaped
CATEGORIES = b"""category_id,category_level1,category_level2,category_level3
10,Food,Fruit,Apple
20,Food,Fruit,"<b>&""Pear"
30,Home,Green,Plant
40,Garden,Green,Plant
"""


def pixels(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A picture of noise: width, height."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def jpeg(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    return encoded(pixels(seed, size))


def huge_png(edge: int) -> bytes:
    """A well-formed header of edge x edge pixels, and almost none of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


class CountedObjects(DirectoryObjects):
    """Remembers what was read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read_keys: list[str] = []

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.read_keys.append(key)
        return super().read(key, offset, length)

    def open(self, key: str) -> Any:
        self.read_keys.append(key)
        return super().open(key)


class Scene:
    """A home with small packs, so that a small dump has several."""

    def __init__(self, home: Path, pack_bytes: int = 5000) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.objects = CountedObjects(home / "objects")
        self._catalog = SqliteCatalog(home / "shelver.sqlite")
        self._settings = Settings(home=home, ingest=IngestSettings(pack_bytes=pack_bytes, block_bytes=1500))
        self._categories = home / "categories.csv"
        self._categories.write_bytes(CATEGORIES)

    def ingest(
        self,
        products: Mapping[int, tuple[int | None, Sequence[bytes]]],
        dataset: str = "d",
        *,
        table: bool = True,
        further: bytes = b"",
        allow_bad: int = 0,
    ) -> Manifest:
        """`products`: id -> (category id, images); `further` documents come after them."""
        dump = self.home / f"{dataset}.bson"
        dump.write_bytes(b"".join(document(*one) for one in products.items()) + further)
        request = IngestRequest(str(dump), dataset, self._categories if table else None, allow_bad, processes=1)
        return run(SimpleNamespace(objects=self.objects, catalog=self._catalog), self._settings, request)  # type: ignore[arg-type]


def document(product: int, about: tuple[int | None, Sequence[bytes]]) -> bytes:
    """One product as BSON: id, category id and images."""
    category, pictures = about
    label = {} if category is None else {"category_id": category}
    return bson.encode({"_id": product, "imgs": [{"picture": one} for one in pictures]} | label)


class PageCheck(HTMLParser):
    """Refuses a page with unbalanced tags, with anything from elsewhere, or with an id twice."""

    _VOID = frozenset({"meta", "img", "br", "path", "use", "rect", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pictures = 0
        self.tags: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self._ids: set[str] = set()
        self.feed(page)
        self.close()
        assert self._open == []
        assert "url(http" not in page
        assert "@import" not in page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
                assert (value or "").startswith(("data:", "#")), (tag, name, value)
            if name == "id":
                assert value not in self._ids, value
                self._ids.add(value or "")
        assert tag not in ("script", "link", "iframe", "object")
        if tag == "img":
            self.pictures += 1
            assert str(dict(attrs)["src"]).startswith("data:")
            assert dict(attrs)["alt"]
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self._open, tag
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, spaces joined."""
        return " ".join(" ".join(self.words).split())
