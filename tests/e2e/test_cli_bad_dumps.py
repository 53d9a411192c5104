"""Bad input at the command line: exit code 2, one line with file, place and remedy, and nothing half stored."""

import gzip
import json
import random
import struct
import subprocess
import sys

import bson
import pytest

CORRECT = "leave bad documents out with --allow-bad N"
COPY = "copy or dump it again"


def changed(document: bytes, **elements: object) -> bytes:
    """With other elements; None removes one."""
    merged = bson.decode(document) | elements
    return bson.encode({name: value for name, value in merged.items() if value is not None})


def with_length(length: int):
    return lambda document: struct.pack("<i", length) + document[4:]


DAMAGES = {
    "negative length": (with_length(-7), "its length field is negative (-7)"),
    "zero length": (with_length(0), "its length field is zero"),
    "too small a length": (with_length(3), "its length field is too small (3"),
    "too large a length": (with_length(2**30), "its length field is too large (1073741824"),
    "length past the end": (with_length(9 * 2**20), "its length field (9437184) runs past the end of the dump"),
    "length off by one": (lambda d: with_length(len(d) - 1)(d), "its length field does not fit its elements"),
    "random bytes": (lambda _: random.Random(1).randbytes(5000), "its length field is too large"),
    "no _id": (lambda d: changed(d, _id=None), "_id is missing"),
    "_id of a wrong type": (lambda d: changed(d, _id="12"), "_id is a string, not an int32 or int64"),
    "category of a wrong type": (lambda d: changed(d, category_id=1.5), "category_id is a double"),
    "imgs of a wrong type": (lambda d: changed(d, imgs="none"), "imgs is a string, not an array"),
    "image of a wrong type": (lambda d: changed(d, imgs=[b"x"]), "image 0 is binary, not a document with a picture"),
    "picture of a wrong type": (lambda d: changed(d, imgs=[{"picture": "x"}]), "picture of image 0 is a string"),
    "no imgs": (lambda d: changed(d, imgs=None), "imgs is missing"),
    "no images": (lambda d: changed(d, imgs=[]), "it has no images"),
    "empty image": (lambda d: changed(d, imgs=[{"picture": b""}]), "image 0 is empty"),
    "unknown category": (lambda d: changed(d, category_id=424242), "category_id 424242 is not in the category file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_document_is_refused_or_left_out(intake, damage):
    make, reason = DAMAGES[damage]
    source = intake.with_bad(make(intake.bad))
    intake.refuse(source, f"{source}, offset {intake.at}: ", reason, CORRECT)
    code, out, _ = intake.ingest(source, "--allow-bad", 1, "--json")
    found = json.loads(out)
    assert (code, found["products"], len(found["bad"])) == (0, 9, 1)
    assert found["bad"][0]["offset"] == intake.at
    assert reason in found["bad"][0]["reason"]


def test_what_is_left_out_is_listed(intake):
    source = intake.with_bad(changed(intake.bad, imgs=[]))
    code, out, _ = intake.ingest(source, "--allow-bad", 3)
    assert code == 0
    assert f"left out at offset {intake.at}: it has no images" in out


@pytest.mark.parametrize(("cut", "reason"), [(-100, "of its"), (3, "3 bytes are left")])
def test_a_truncated_last_document(intake, cut, reason):
    source = intake.dump(b"".join(intake.before) + intake.bad[:cut])
    intake.refuse(source, f"{source}, offset {intake.at}: the last document is truncated", reason, COPY)
    code, out, _ = intake.ingest(source, "--allow-bad", 1, "--json")
    assert (code, json.loads(out)["products"]) == (0, len(intake.before))


def test_a_repeated_product_is_skipped_and_with_other_content_refused(intake):
    first, other = intake.documents[0], bson.decode(intake.bad)["imgs"]
    code, out, _ = intake.ingest(intake.dump(b"".join([*intake.documents, first]), "same.bson"), "--json")
    found = json.loads(out)
    assert (code, found["products"], found["repeated"], found["bad"]) == (0, 10, 1, [])
    assert intake.shell("--home", intake.home, "rm", "dataset", "d")[0] == 0
    source = intake.with_bad(changed(first, imgs=other))
    product = bson.decode(first)["_id"]
    intake.refuse(source, f"offset {intake.at}: product {product} is at offset 0 already", "remove one of the two")
    code, out, _ = intake.ingest(source, "--allow-bad", 1, "--json")
    assert (code, json.loads(out)["products"], json.loads(out)["bad"][0]["offset"]) == (0, 9, intake.at)


def test_both_widths_of_ids_and_bytes_that_are_no_image_are_fine(intake):
    wide = changed(intake.documents[0], _id=bson.Int64(2**40), imgs=[{"picture": b"no picture"}])
    code, out, _ = intake.ingest(intake.dump(b"".join([*intake.documents, wide])))
    assert code == 0
    assert ["products", "11"] in [line.split() for line in out.splitlines()]
    assert "unreadable images  1" in out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.bson", b"", ("offset 0: the file is empty", "copy or make it again")),
        ("text.bson", b"_id;name\n1;apple\n" * 9, ("offset 0: this is a text file", "give a .bson or .bson.gz dump")),
        ("page.bson", b"<html>404</html>", ("offset 0: this is a text file", "give a .bson or .bson.gz dump")),
        ("noise.bson", random.Random(2).randbytes(9999), ("offset 0: its length field is", CORRECT)),
        ("packed.bson", gzip.compress(b"x", mtime=0), ("offset 0: this is gzip data", "name it .bson.gz")),
        ("plain.bson.gz", b"no gzip", ("offset 0: this is not gzip data", "take .gz off its name")),
        ("nothing.bson.gz", gzip.compress(b"", mtime=0), ("offset 0: it is empty", "check what writes it")),
    ],
)
def test_a_file_that_is_no_dump(intake, name, content, words):
    source = intake.dump(content, name)
    intake.refuse(source, f"{source}, ", *words)
    if name != "noise.bson":
        intake.refuse(source, f"{source}, ", *words, options=("--allow-bad", "9"))


def test_damage_inside_a_gzipped_dump_and_of_it(intake):
    packed = gzip.compress(intake.with_bad(with_length(0)(intake.bad)).read_bytes())
    source = intake.dump(packed, "dump.bson.gz")
    intake.refuse(source, f"{source}, offset {intake.at}: its length field is zero", CORRECT)
    intake.refuse(intake.dump(packed[:-3000], "cut.bson.gz"), "cut.bson.gz, offset ", "gzip data is damaged", "copy")
    code, out, _ = intake.ingest(source, "--allow-bad", 1, "--json")
    assert (code, json.loads(out)["products"]) == (0, 9)


def test_standard_input(intake):
    command = ["--home", str(intake.home), "ingest", "-", "--dataset", "d", "--categories", str(intake.categories)]

    def piped(content: bytes, *options: str) -> tuple[int, str, str]:
        line = [sys.executable, "-m", "services.cli", *command, *options]
        done = subprocess.run(line, input=content, capture_output=True, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    content = intake.with_bad(with_length(0)(intake.bad)).read_bytes()
    code, out, err = piped(content)
    assert (code, out) == (2, "")
    assert f"standard input, offset {intake.at}: its length field is zero" in err
    assert "Traceback" not in err
    code, _, err = piped(gzip.compress(content))
    assert code == 2
    assert "standard input, offset 0: this is gzip data" in err
    assert "gunzip -c" in err
    code, out, _ = piped(content, "--allow-bad", "1", "--json")
    assert (code, json.loads(out)["products"]) == (0, 9)
