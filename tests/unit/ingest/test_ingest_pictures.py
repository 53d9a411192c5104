from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import layout
from shared.domain.errors import BadInputError
from shared.packs import read_indexes, read_manifest

JPEG = b"\xff\xd8\xff"


def write(root: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read(shop: Any, dataset: str = "d") -> dict[int, tuple[int | None, list[bytes]]]:
    """Product id -> (category, images), in dump order."""
    found = {}
    categories = {row.id: row.category_id for row in shop.catalog.products(dataset)}
    for ref, index in read_indexes(shop.objects, read_manifest(shop.objects, dataset)):
        content = shop.objects.read(layout.pack(dataset, ref.number))
        for row, product in enumerate(index.product_id.tolist()):
            images = range(index.first_image[row], index.first_image[row + 1])
            spans = [(index.image_offset[image], index.image_length[image]) for image in images]
            found[product] = categories[product], [content[at : at + size] for at, size in spans]
    return found


@pytest.fixture
def folder(shop: Any) -> Path:
    return Path(shop.home) / "pictures"


def test_a_folder_of_class_folders(shop: Any, folder: Path) -> None:
    write(
        folder,
        **{
            "10/7_1.jpg": b"second",
            "10/7_0.png": JPEG + b"first",
            "10/7_10.webp": b"third",
            "10/8.jpg": b"eight",
            "Pear/9.jpg": b"nine",
            "Home/Green/Plant/11.jpg": b"eleven",
            "12.jpg": b"unlabelled",
            ".hidden/1.jpg": b"",
            "10/.DS_Store": b"",
        },
    )
    manifest = shop.ingest(str(folder))
    assert read(shop) == {
        12: (None, [b"unlabelled"]),
        7: (10, [JPEG + b"first", b"second", b"third"]),
        8: (10, [b"eight"]),
        11: (30, [b"eleven"]),
        9: (20, [b"nine"]),
    }
    assert (manifest.products, manifest.labelled, manifest.unrecognised) == (5, 4, 6)


def test_a_name_without_number_gives_a_stable_id(shop: Any, folder: Path) -> None:
    write(folder, **{"10/apple.jpg": b"a", "10/green apple.jpg": b"b", "20/apple.jpg": b"c"})
    shop.ingest(str(folder))
    ids = {tuple(images): product for product, (_, images) in read(shop).items()}
    assert len(set(ids.values())) == 3
    assert all(0 <= product < 2**63 for product in ids.values())
    write(folder, **{"20/another.jpg": b"d"})
    shop.ingest(str(folder), "later")
    assert {tuple(images): product for product, (_, images) in read(shop, "later").items()}.items() >= ids.items()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Plant/1.jpg", "fits 2 categories (Home/Green/Plant, Garden/Green/Plant)"),
        ("Cherry/1.jpg", "no category has this name"),
        ("Food/Fruit/1.jpg", "no category has this name"),
    ],
)
def test_a_folder_that_names_no_single_category_is_an_error(shop: Any, folder: Path, name: str, reason: str) -> None:
    write(folder, **{name: b"picture"})
    with pytest.raises(BadInputError) as caught:
        shop.ingest(str(folder))
    assert caught.value.where == str((folder / name).parent)
    assert reason in caught.value.reason
    assert shop.catalog.ingest("d") is None


def test_names_need_a_category_file(shop: Any, folder: Path) -> None:
    write(folder, **{"Pear/1.jpg": b"picture"})
    with pytest.raises(BadInputError, match="pass --categories"):
        shop.ingest(str(folder), labelled=False)


def test_an_empty_folder_is_an_error(shop: Any, folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(BadInputError, match="no picture in this folder"):
        shop.ingest(str(folder))


def test_an_empty_picture_is_named_by_its_file(shop: Any, folder: Path) -> None:
    write(folder, **{"10/1.jpg": b"good", "10/2_0.jpg": b"good", "10/2_1.jpg": b"", "20/3.jpg": b"good"})
    with pytest.raises(BadInputError, match=r"10/2_1.jpg: the image file .*/10/2_1.jpg is empty; correct it") as caught:
        shop.ingest(str(folder))
    assert caught.value.position == "10/2_1.jpg"
    manifest = shop.ingest(str(folder), allow_bad=1)
    assert list(read(shop)) == [1, 3]
    assert "10/2_1.jpg" in manifest.bad[0].reason


def test_a_product_in_two_folders_is_an_error(shop: Any, folder: Path) -> None:
    write(folder, **{"10/1.jpg": b"same", "20/1.jpg": b"same"})
    with pytest.raises(BadInputError, match=r"product 1 is at 10/1[.]jpg already") as caught:
        shop.ingest(str(folder))
    assert caught.value.position == "20/1.jpg"


@pytest.fixture
def table(shop: Any, folder: Path) -> Callable[[str], str]:
    write(folder, **{name: name.encode() for name in ("a.jpg", "b.jpg", "in/c.jpg", "d.jpg")}, **{"empty.jpg": b""})

    def make(text: str) -> str:
        (folder / "images.csv").write_bytes(text.encode("utf-8-sig"))
        return str(folder / "images.csv")

    return make


def test_a_table_of_images(shop: Any, table: Callable[[str], str]) -> None:
    source = table(
        "product_id,image_path,category_id\n5,a.jpg,20\n3,b.jpg,\n5,in/c.jpg,20\n9223372036854775807,d.jpg,10\n"
    )
    shop.ingest(source)
    assert read(shop) == {
        5: (20, [b"a.jpg", b"in/c.jpg"]),
        3: (None, [b"b.jpg"]),
        2**63 - 1: (10, [b"d.jpg"]),
    }


def test_categories_may_be_left_out_and_columns_stand_in_any_order(shop: Any, table: Callable[[str], str]) -> None:
    shop.ingest(table("image_path,note,product_id\na.jpg,x,1\n"), labelled=False)
    assert read(shop) == {1: (None, [b"a.jpg"])}


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", "line 1", "the file is empty"),
        ("product,image_path\n", "line 1", "the header lacks product_id"),
        ("product_id,image_path\n", "", "no row below the header"),
        ("product_id,image_path\n1,a.jpg\nx,b.jpg\n", "line 3", "'x' is no product id"),
        ("product_id,image_path\n9223372036854775808,b.jpg\n", "line 2", "is no product id"),
        ("product_id,image_path,category_id\n1,a.jpg,x\n", "line 2", "'x' is no category id"),
        ("product_id,image_path\n1\n", "line 2", "only 1 fields"),
        ("product_id,image_path\n1,\n", "line 2", "the image path is empty"),
        (
            "product_id,image_path,category_id\n1,a.jpg,10\n1,b.jpg,20\n",
            "line 3",
            "has category 20 here and 10 on line 2",
        ),
        ("product_id,image_path\n1,a.jpg\n2,no.jpg\n", "line 3", "no.jpg cannot be read: No such file"),
        ("product_id,image_path\n1,a.jpg\n1,empty.jpg\n", "line 3", "empty.jpg is empty"),
        ("product_id,image_path,category_id\n1,a.jpg,10\n2,b.jpg,99\n", "line 3", "category_id 99 is not in the"),
        ('product_id,image_path\n1,"a.jpg\n', "line 2", "unexpected end of data"),
    ],
)
def test_a_bad_table_is_named_by_line(
    shop: Any, table: Callable[[str], str], text: str, position: str, reason: str
) -> None:
    source = table(text) if text else str(Path(table("x")).parent / "images.csv")
    if not text:
        Path(source).write_bytes(b"\n")
    with pytest.raises(BadInputError) as caught:
        shop.ingest(source)
    assert (caught.value.where, caught.value.position) == (source, position)
    assert reason in caught.value.reason
    assert list(shop.objects.list("")) == []


def test_a_table_in_another_encoding_is_named(shop: Any, table: Callable[[str], str]) -> None:
    source = table("x")
    Path(source).write_bytes("product_id,image_path\n1,ä.jpg\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="is not UTF-8"):
        shop.ingest(source)


def test_pictures_too_large_for_one_document_are_named(shop: Any, folder: Path) -> None:
    write(folder, **{"1.jpg": bytes(2**24 + 2**14), "2.jpg": b"good"})
    with pytest.raises(BadInputError, match="too many for one document"):
        shop.ingest(str(folder))
    shop.ingest(str(folder), allow_bad=1)
    assert list(read(shop)) == [2]
