from pathlib import Path

import pytest

from shared import dumps
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import BadInputError
from shared.ports import Objects


@pytest.fixture
def bucket(tmp_path: Path) -> Objects:
    objects = DirectoryObjects(tmp_path / "bucket")
    objects.put("some/dump.bson", b"0123456789")
    return objects


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dump.bson"
    path.write_bytes(b"0123456789")
    return path


def read_on(dump: dumps.Dump, offset: int) -> list[bytes]:
    room = bytearray(4)
    found = []
    with dump.open(offset) as read_into:
        while count := read_into(memoryview(room)):
            found.append(bytes(room[:count]))
    return found


def test_a_file_and_an_object_are_read_alike_from_any_offset(file: Path, bucket: Objects) -> None:
    for name in (str(file), "s3://shop/some/dump.bson"):
        dump = dumps.locate(name, lambda _: bucket)
        assert dump.size() == 10
        assert read_on(dump, 0) == [b"0123", b"4567", b"89"]
        assert read_on(dump, 7) == [b"789"]
        assert read_on(dump, 10) == []
        assert dumps.read(name, lambda _: bucket, 10) == b"0123456789"


def test_a_dump_of_other_content_has_another_identity(file: Path, bucket: Objects) -> None:
    before = [dumps.locate(name, lambda _: bucket).identity() for name in (str(file), "s3://shop/some/dump.bson")]
    file.write_bytes(b"012345678")
    bucket.put("some/dump.bson", b"0123x56789")
    after = [dumps.locate(name, lambda _: bucket).identity() for name in (str(file), "s3://shop/some/dump.bson")]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_bucket_is_asked_for_by_its_name(bucket: Objects) -> None:
    asked: list[str] = []

    def buckets(name: str) -> Objects:
        asked.append(name)
        return bucket

    dumps.locate("s3://shop/some/dump.bson", buckets)
    assert asked == ["shop"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3://shop", "names no object"),
        ("s3://shop/", "names no object"),
        ("s3://shop/none.bson", "there is no such file"),
        ("{}/none.bson", "there is no such file"),
        ("{}", "there is no such file"),
        ("{}/empty.bson", "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_bad_input(tmp_path: Path, bucket: Objects, name: str, words: str) -> None:
    (tmp_path / "empty.bson").write_bytes(b"")
    with pytest.raises(BadInputError, match=words):
        dumps.locate(name.format(tmp_path), lambda _: bucket)


def test_more_than_asked_for_is_refused(file: Path, bucket: Objects) -> None:
    with pytest.raises(BadInputError, match="it has 10 bytes, more than 9"):
        dumps.read(str(file), lambda _: bucket, 9)
