"""Sources and category files that cannot be used, and datasets that are there already."""

import json
import os
from pathlib import Path

import bson
import pytest

HEADER = "category_id,category_level1,category_level2,category_level3\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("the file is empty", f"it needs a header line {HEADER.strip()}")),
        (HEADER.encode(), ("there is no category below the header", "add one line per category")),
        (b"category_id,category_level1\n1,a\n", (", line 1: the header lacks category_level2", "it must name")),
        (f"{HEADER}1,a,b,c\n2,a,b,d\n1,a,b,e\n".encode(), (", line 4: category 1 is on line 2 already", "keep one")),
        (f"{HEADER}1,a,b,Käse\n".encode("latin-1"), (", line 2: byte 67 is not UTF-8", "save the file as UTF-8")),
        (f"{HEADER}apple,a,b,c\n".encode(), (", line 2: 'apple' is no category id", "ids are whole numbers")),
        (f"{HEADER}1,a,b\n".encode(), (", line 2: 3 fields where the header has 4", "quote names")),
    ],
)
def test_a_bad_category_file(intake, content, words):
    intake.categories = intake.dump(content, "categories.csv")
    intake.refuse(intake.dump(b"".join(intake.documents)), str(intake.categories), *words)


def test_no_category_file(intake):
    source = intake.dump(b"".join(intake.documents))
    intake.categories = Path("nowhere.csv")
    intake.refuse(source, "nowhere.csv: cannot be read: No such file or directory", "check --categories")
    code, _, err = intake.shell("--home", intake.home, "ingest", source, "--dataset", "d")
    assert code == 2
    assert f"{source}, offset 0: it has category_id" in err
    assert "pass the category table with --categories CSV" in err


def test_a_source_that_is_not_there_or_cannot_be_read(intake, monkeypatch):
    intake.refuse("nowhere.bson", "nowhere.bson: there is no such file or folder", "give a .bson or .bson.gz dump")
    source, opened = intake.dump(b"".join(intake.documents)), Path.open

    def refused(path: Path, *arguments, **options):
        if path == source:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    intake.refuse(source, f"{source}: cannot be read: Permission denied", "check its permissions")


def test_a_folder(intake):
    folder = intake.folder / "pictures"
    folder.mkdir()
    intake.refuse(folder, f"{folder}: there is no picture in this folder", "put one folder per class into it")
    (folder / "FRUIT").mkdir()
    (folder / "FRUIT" / "notes.txt").write_text("no picture")
    intake.refuse(folder, f"{folder}: none of its 1 files is a JPEG, PNG or WebP, FRUIT/notes.txt", "with pictures")
    picture = bson.decode(intake.documents[0])["imgs"][0]["picture"]
    (folder / "FRUIT" / "7.jpg").write_bytes(picture)
    intake.refuse(folder, f"{folder}/FRUIT: no category has this name", "by category id, by a level-3 name")
    (folder / "FRUIT").rename(folder / "ROYAL-GALA")
    (folder / "ROYAL-GALA" / "notes.txt").write_bytes(b"")
    intake.refuse(folder, "ROYAL-GALA/notes.txt", "is empty", "--allow-bad N")
    code, out, _ = intake.ingest(folder, "--allow-bad", 1)
    assert code == 0
    assert "ROYAL-GALA/notes.txt" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("id,path\n1,a.jpg\n", (", line 1: the header lacks product_id, image_path", "it needs a header line")),
        ("product_id,image_path\n", ("there is no row below the header", "add one line per image")),
        ("product_id,image_path\nx,a.jpg\n", (", line 2: 'x' is no product id", "ids are whole numbers")),
        ("product_id,image_path\n1\n", (", line 2: only 1 fields", "complete the line")),
        ("product_id,image_path\n1,nowhere.jpg\n", (", line 2: the image file", "No such file", "--allow-bad N")),
        ("product_id,image_path,category_id\n1,rows.csv,5\n", (", line 2: category_id 5 is not in", "--allow-bad N")),
    ],
)
def test_a_table_of_images(intake, rows, words):
    source = intake.dump(rows.encode(), "rows.csv")
    intake.refuse(source, str(source), *words)


def test_a_table_of_images_with_one_bad_line_left_out(intake):
    picture = bson.decode(intake.documents[0])["imgs"][0]["picture"]
    intake.dump(picture, "a.jpg")
    source = intake.dump(b"product_id,image_path\n1,a.jpg\n2,b.jpg\n", "rows.csv")
    code, out, _ = intake.ingest(source, "--allow-bad", 1, "--json")
    found = json.loads(out)
    assert (code, found["products"]) == (0, 1)
    assert "line 3: the image file" in found["bad"][0]["reason"]


def test_a_dataset_that_is_there_already(intake):
    source = intake.dump(b"".join(intake.documents))
    code, out, _ = intake.ingest(source, "--json")
    assert code == 0
    again, repeated, err = intake.ingest(source, "--json")
    assert (again, repeated) == (0, out)
    assert "dataset d is complete already: skipped" in err
    other = intake.dump(b"".join(intake.before), "other.bson")
    for changed, options, words in (
        (other, (), "now it is another source"),
        (source, ("--allow-bad", 4), "now it is another --allow-bad"),
    ):
        code, _, err = intake.ingest(changed, *options)
        assert code == 2
        assert f"'d' is there already, from {source}: {words}; choose another name" in err
    assert intake.ingest(source, "--json")[1] == out


def test_a_home_that_cannot_be_one(intake, monkeypatch):
    source = intake.dump(b"".join(intake.documents))
    for home, words in ((source, "File exists"), (source / "home", "Not a directory")):
        code, out, err = intake.shell("--home", home, "ingest", source, "--dataset", "d")
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert f"{home}: no stores can be kept there: {words}" in err
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, err = intake.shell("--home", intake.home, "datasets")
    assert code == 2
    assert "it is read-only; name a folder that can be written" in err
