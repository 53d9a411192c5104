import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.directory import DirectoryObjects
from shared.adapters.s3 import S3Objects
from shared.domain.errors import BadInputError, NotFoundError
from shared.ports import Objects
from tests.servers.places import Bucket


@pytest.fixture(params=["directory", "minio", "versity"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "objects")
    bucket: Bucket = request.getfixturevalue(f"{request.param}_bucket")
    return S3Objects(bucket.s3, bucket.objects.removeprefix("s3://"), "below")


def test_what_is_put_is_read(objects: Objects) -> None:
    assert objects.put("a/b/c.bin", b"content") == 7
    assert objects.read("a/b/c.bin") == b"content"
    assert objects.size("a/b/c.bin") == 7
    assert objects.exists("a/b/c.bin")


def test_a_stream_of_blocks_is_one_object(objects: Objects) -> None:
    assert objects.put("k", (bytes([number]) * number for number in range(4))) == 6
    assert objects.read("k") == b"\1\2\2\3\3\3"


def test_a_stream_may_be_long_and_use_one_block_again(objects: Objects) -> None:
    block = bytearray(5_000_001)

    def blocks() -> Iterator[memoryview]:
        for number in range(4):
            block[:] = bytes([number]) * len(block)
            yield memoryview(block)

    assert objects.put("k", blocks()) == 4 * len(block)
    assert objects.read("k") == b"".join(bytes([number]) * len(block) for number in range(4))


def test_an_empty_object_is_an_object(objects: Objects) -> None:
    assert objects.put("k", b"") == 0
    assert objects.exists("k")
    assert objects.read("k") == b""


def test_a_put_replaces_what_was_there(objects: Objects) -> None:
    objects.put("k", b"a long first content")
    objects.put("k", b"second")
    assert objects.read("k") == b"second"


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_put_that_raises_stores_nothing(objects: Objects, before: bytes | None) -> None:
    if before is not None:
        objects.put("folder/k", before)

    def blocks() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        objects.put("folder/k", blocks())
    assert objects.exists("folder/k") == (before is not None)
    assert list(objects.list("")) == ([] if before is None else ["folder/k"])
    assert before is None or objects.read("folder/k") == before


def test_ranges_end_with_the_object(objects: Objects) -> None:
    objects.put("k", b"0123456789")
    assert objects.read("k", 3, 4) == b"3456"
    assert objects.read("k", 8, 100) == b"89"
    assert objects.read("k", 4) == b"456789"
    assert objects.read("k", 10, 5) == b""
    assert objects.read("k", 100) == b""
    assert objects.read("k", 2, 0) == b""


def test_an_open_object_seeks(objects: Objects) -> None:
    objects.put("k", b"0123456789")
    with objects.open("k") as stream:
        assert stream.read(3) == b"012"
        stream.seek(-2, 2)
        assert stream.read() == b"89"


def test_a_reader_keeps_the_object_that_it_opened(objects: Objects) -> None:
    objects.put("k", b"first")
    with objects.open("k") as stream:
        objects.put("k", b"other")
        assert stream.read() == b"first"


@pytest.mark.parametrize("key", ["nothing", "a", "a/b/c", "a/b/c/d"])
def test_what_is_not_there_is_not_found(objects: Objects, key: str) -> None:
    objects.put("a/b", b"")
    assert not objects.exists(key)
    with pytest.raises(NotFoundError):
        objects.read(key)
    with pytest.raises(NotFoundError):
        objects.size(key)
    with pytest.raises(NotFoundError), objects.open(key):
        pass


def test_a_prefix_lists_its_keys_sorted(objects: Objects) -> None:
    for key in ("b/2", "b/10", "a", "b/1/x", "bc/1", "b-1", "c/deep/er"):
        objects.put(key, b"")
    assert list(objects.list("")) == ["a", "b-1", "b/1/x", "b/10", "b/2", "bc/1", "c/deep/er"]
    assert list(objects.list("b/")) == ["b/1/x", "b/10", "b/2"]
    assert list(objects.list("b/1")) == ["b/1/x", "b/10"]
    assert list(objects.list("b")) == ["b-1", "b/1/x", "b/10", "b/2", "bc/1"]
    assert list(objects.list("b/2")) == ["b/2"]
    assert list(objects.list("d/")) == []
    assert list(objects.list("a/b/c")) == []


def test_what_is_deleted_is_gone_and_may_be_deleted_again(objects: Objects) -> None:
    objects.put("a/b", b"")
    objects.put("a/c", b"")
    for _ in range(2):
        objects.delete("a/b")
        assert list(objects.list("")) == ["a/c"]
    objects.delete("a/c/d")
    objects.delete("a")
    assert list(objects.list("")) == ["a/c"]
    objects.put("a/b", b"again")
    assert objects.read("a/b") == b"again"


def test_keys_may_be_deleted_while_they_are_listed(objects: Objects) -> None:
    for number in range(5):
        objects.put(f"work/{number}", b"")
    for key in objects.list("work/"):
        objects.delete(key)
    assert list(objects.list("")) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a\0b"])
def test_a_key_outside_the_store_is_refused(objects: Objects, key: str) -> None:
    with pytest.raises(BadInputError, match="is no object key"):
        objects.put(key, b"")


def test_of_several_writers_one_wins_whole(objects: Objects) -> None:
    contents = [bytes([number]) * 200_000 for number in range(4)]
    writers = [threading.Thread(target=objects.put, args=("folder/k", content)) for content in contents * 3]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert objects.read("folder/k") in contents
    assert list(objects.list("")) == ["folder/k"]


@pytest.mark.parametrize("objects", ["directory"], indirect=True)  # S3 servers refuse a writer now and then
def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(objects: Objects) -> None:
    def work(name: str) -> None:
        for _ in range(40):
            objects.put(f"folder/{name}", b"content")
            assert objects.read(f"folder/{name}") == b"content"
            objects.delete(f"folder/{name}")
        done.append(name)

    done: list[str] = []
    workers = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(done) == ["a", "b", "c"]
