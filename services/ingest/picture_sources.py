"""Pictures in files, from a folder of class folders or a CSV, as one stream of BSON documents."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from services.ingest.bson_elements import MAX_DOCUMENT
from services.ingest.pack_walk import is_picture
from shared.domain.errors import BadInputError
from shared.domain.taxonomy import Taxonomy

_NUMBERED = re.compile(r"(\d{1,18})(?:_(\d+))?(?:\.[^.]*)?")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_SIGNATURE_BYTES = 16
_NO_NUMBER = -1  # an image without one is the first of its product
_CSV_COLUMNS = ("product_id", "image_path")


class _Rows(Protocol):
    """A CSV reader."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


@dataclass(slots=True)
class PicturedProduct:
    """One product: its image files, and where the source names each of them."""

    product_id: int
    category_id: int | None
    files: list[tuple[Path, str]] = field(default_factory=list)


class PictureSource:
    """The stream of documents, and the way back from an offset in it to the file or line of a product."""

    def __init__(self, identity: str, products: Iterator[PicturedProduct]) -> None:
        self.identity = identity
        self._products = products
        self._places: dict[int, tuple[str, str]] = {}
        self._position = 0
        self._left = b""

    def read(self, count: int) -> bytes:
        """The next bytes of the stream, at least one and about `count` or one document; none at the end."""
        blocks = [self._left]
        held = len(self._left)
        while held < count and (product := next(self._products, None)) is not None:
            blocks.append(self._document(product))
            held += len(blocks[-1])
        joined = b"".join(blocks)
        self._left = joined[count:]
        return joined[:count]

    def place(self, offset: int, reason: str) -> tuple[str, str]:
        """(position, reason) of the document at `offset`, in the words of the source."""
        place, why = self._places[offset]
        return place, why or reason

    def _document(self, product: PicturedProduct) -> bytes:
        """A document without images stands for one that cannot be made, so that it is refused at its place."""
        place, why = product.files[0][1], ""
        pictures: list[bytes] = []
        for path, where in product.files:
            try:
                pictures.append(path.read_bytes())
                problem = "" if pictures[-1] else f"the image file {path} is empty"
            except OSError as error:
                problem = f"the image file {path} cannot be read: {error.strerror or error}"
            if problem:
                place, why = where, problem
                break
        size = sum(map(len, pictures))
        if size > MAX_DOCUMENT - 1024 - 64 * len(pictures):
            why = f"its images have {size} bytes together, too many for one document of at most {MAX_DOCUMENT}"
        document: dict[str, object] = {
            "_id": product.product_id,
            "imgs": [] if why else [{"picture": picture} for picture in pictures],
        }
        if product.category_id is not None:
            document["category_id"] = product.category_id
        import bson  # the processes that write packs start faster without it

        encoded: bytes = bson.encode(document)
        self._places[self._position] = place, why
        self._position += len(encoded)
        return encoded


def open_folder(root: Path, taxonomy: Taxonomy | None) -> PictureSource:
    """The pictures of a folder of class folders.

    A class folder is called by category id, by a level-3 name, or is nested as level 1 / level 2 / level 3. A file
    named NUMBER or NUMBER_n belongs to product NUMBER; any other makes a product whose id is a hash of its path.
    """
    listing = sha256()
    folders: list[tuple[str, list[str]]] = []
    for place, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        relative = Path(place).relative_to(root).as_posix()
        files = sorted(name for name in names if not name.startswith("."))
        folders.append((relative, files))
        for name in files:
            status = (Path(place) / name).stat()
            listing.update(
                f"{relative}/{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape")
            )
    if not any(files for _, files in folders):
        raise BadInputError(str(root), "there is no picture in this folder", remedy="put one folder per class into it")
    _check_pictures(root, folders)
    categories = {place: _category_of(root, place, taxonomy) for place, files in folders if files}
    products = (
        product for place, files in folders if files for product in _of_folder(root, place, files, categories[place])
    )
    return PictureSource(f"listing {listing.hexdigest()}", products)


def _check_pictures(root: Path, folders: list[tuple[str, list[str]]]) -> None:
    """A file that is no picture is kept and counted; where no file looks like one, this is the wrong folder."""
    files = [root / place / name for place, names in folders for name in names]
    if not any(path.suffix.lower() in _SUFFIXES or _begins_as_picture(path) for path in files):
        reason = f"none of its {len(files)} files is a JPEG, PNG or WebP, {files[0].relative_to(root)} for one"
        raise BadInputError(str(root), reason, remedy="name a folder of class folders with pictures")


def _begins_as_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return is_picture(file.read(_SIGNATURE_BYTES))


def _of_folder(root: Path, place: str, files: list[str], category: int | None) -> list[PicturedProduct]:
    products: dict[int, PicturedProduct] = {}
    numbers: dict[str, int] = {}
    for name in files:
        relative = name if place == "." else f"{place}/{name}"
        numbered = _NUMBERED.fullmatch(name)
        if numbered:
            product_id = int(numbered[1])
            numbers[relative] = int(numbered[2]) if numbered[2] else _NO_NUMBER
        else:
            hashed = sha256(relative.encode(errors="surrogateescape")).digest()
            product_id = int.from_bytes(hashed[:8], "big") >> 1
        product = products.setdefault(product_id, PicturedProduct(product_id, category))
        product.files.append((root / relative, relative))
    for product in products.values():
        product.files.sort(key=lambda file: (numbers.get(file[1], _NO_NUMBER), file[1]))
    return list(products.values())


def _category_of(root: Path, place: str, taxonomy: Taxonomy | None) -> int | None:
    parts = tuple(place.split("/"))
    if place == ".":
        return None
    if len(parts) == 1 and re.fullmatch(r"\d{1,18}", place):
        return int(place)
    if taxonomy is None:
        remedy = "pass --categories, or name it by category id"
        raise BadInputError(str(root / place), "this class folder is named by no category id", remedy=remedy)
    rows = [row for row, path in enumerate(taxonomy.paths) if path == parts or (len(parts) == 1 and path[2] == place)]
    if len(rows) != 1:
        paths = ", ".join("/".join(taxonomy.paths[row]) for row in rows[:3])
        reason = f"this name fits {len(rows)} categories ({paths})" if rows else "no category has this name"
        remedy = "name it by category id, by a level-3 name, or as folders level 1 / level 2 / level 3"
        raise BadInputError(str(root / place), reason, remedy=remedy)
    return int(taxonomy.category_ids[rows[0]])


def open_csv(path: Path, identity: str) -> PictureSource:
    """The pictures that a CSV with the columns product_id, image_path and category_id (optional) names.

    Paths count from the CSV's folder. A product's images may stand apart; it comes where its first one does.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            products = _of_table(str(path), csv.reader(file, strict=True), path.parent)
    except UnicodeDecodeError as error:
        raise BadInputError(str(path), "is not UTF-8", position=f"{error}", remedy="save it as UTF-8") from None
    return PictureSource(identity, iter(products))


def _of_table(where: str, rows: _Rows, folder: Path) -> list[PicturedProduct]:
    try:
        columns = _columns(where, next(rows, []))
        products: dict[int, PicturedProduct] = {}
        for row in rows:
            if row:
                _add_row(products, where, rows.line_num, row, columns, folder)
    except csv.Error as error:
        place = f"line {rows.line_num}"
        raise BadInputError(where, str(error), position=place, remedy="write it as comma-separated values") from None
    if not products:
        raise BadInputError(where, "there is no row below the header", remedy="add one line per image")
    return list(products.values())


def _columns(where: str, header: list[str]) -> list[int]:
    missing = [name for name in _CSV_COLUMNS if name not in header]
    if missing:
        reason = f"the header lacks {', '.join(missing)}" if header else "the file is empty"
        remedy = "it needs a header line product_id,image_path,category_id (the last may be left out)"
        raise BadInputError(where, reason, position="line 1", remedy=remedy)
    return [header.index(name) for name in (*_CSV_COLUMNS, "category_id") if name in header]


def _add_row(
    products: dict[int, PicturedProduct], where: str, line: int, row: list[str], columns: list[int], folder: Path
) -> None:
    position = f"line {line}"
    if len(row) <= max(columns):
        raise BadInputError(where, f"only {len(row)} fields", position=position, remedy="complete the line")
    fields = [row[column].strip() for column in columns]
    product_id = _whole(where, position, "product id", fields[0])
    category = _whole(where, position, "category id", fields[2]) if len(fields) > 2 and fields[2] else None
    if not fields[1]:
        raise BadInputError(where, "the image path is empty", position=position, remedy="complete the line")
    product = products.setdefault(product_id, PicturedProduct(product_id, category))
    if product.category_id != category:
        reason = f"product {product_id} has category {category} here and {product.category_id} on {product.files[0][1]}"
        raise BadInputError(where, reason, position=position, remedy="give each product one category")
    product.files.append((folder / fields[1], position))


def _whole(where: str, position: str, what: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,19}", text) or not -(2**63) < int(text) < 2**63:
        remedy = "ids are whole numbers of up to 64 bits"
        raise BadInputError(where, f"'{text}' is no {what}", position=position, remedy=remedy)
    return int(text)
