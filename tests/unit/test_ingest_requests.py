from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from shared import ingest_progress, layout, wiring
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import BadInputError, ConflictError
from shared.domain.records import Ingest
from shared.ingest_progress import IngestProgress
from shared.ingest_requests import IngestOrder, begin, request
from shared.settings import GatewaySettings, Settings

TABLE = b"category_id,category_level1,category_level2,category_level3\n10,a,b,c\n"


class Desk:
    """Stores, a folder and a bucket that may be read, and what is asked."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "dumps"
        self.folder.mkdir()
        (self.folder / "dump.bson").write_bytes(b"some bytes")
        (self.folder / "table.csv").write_bytes(TABLE)
        (home / "secret.bson").write_bytes(b"no one's business")
        self.bucket = DirectoryObjects(home / "bucket")
        self.bucket.put("in/dump.bson", b"some bytes")
        self.bucket.put("out/dump.bson", b"some bytes")
        prefixes = f"{self.folder}, s3://shop/in/"
        self.settings = Settings(home=home / "home", gateway=GatewaySettings(source_prefixes=prefixes))
        self.stores = wiring.stores(self.settings)
        self.order = IngestOrder(dataset="d", source=str(self.folder / "dump.bson"))

    def ask(self, **changes: object) -> Ingest:
        order = replace(self.order, **changes)  # type: ignore[arg-type]
        return request(self.stores, self.settings, order, buckets=lambda _: self.bucket, now=5.0)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_request_is_a_row_with_a_frozen_number_of_processes(desk: Desk) -> None:
    row = desk.ask(allow_bad=2)
    assert row == desk.stores.catalog.ingest("d")
    assert (row.requested, row.created, row.state, row.allow_bad) == (True, 5.0, "running", 2)
    assert row.processes == desk.settings.launcher.ingest_processes
    desk.settings = replace(desk.settings, launcher=replace(desk.settings.launcher, ingest_processes=7))
    assert desk.ask(allow_bad=2) == row


def test_the_category_table_is_copied_before_anybody_sees_the_row(desk: Desk) -> None:
    row = desk.ask(categories=str(desk.folder / "table.csv"))
    assert row.categories == sha256(TABLE).hexdigest()
    assert desk.stores.objects.read(layout.ingest_categories("d", row.categories)) == TABLE
    (desk.folder / "table.csv").write_bytes(b"no table")
    with pytest.raises(BadInputError, match=r"table\.csv"):
        desk.ask(dataset="e", categories=str(desk.folder / "table.csv"))
    assert desk.stores.catalog.ingest("e") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"allow_bad": 1}, "another --allow-bad"),
        ({"processes": 3}, "another number of processes"),
        ({"source": "s3://shop/in/dump.bson"}, "another source"),
    ],
)
def test_another_order_for_the_same_dataset_is_a_conflict(desk: Desk, changes: dict[str, object], words: str) -> None:
    row = desk.ask()
    with pytest.raises(ConflictError, match=f"was begun, from .*{words}"):
        desk.ask(**changes)
    assert desk.stores.catalog.ingest("d") == row


def test_a_failed_one_goes_on_when_it_is_asked_for_again(desk: Desk) -> None:
    row = desk.ask()
    desk.stores.catalog.end_ingest("d", "failed", "why", bad_input=True)
    assert desk.ask() == row == desk.stores.catalog.ingest("d")


def test_what_the_command_line_began_is_not_taken_over(desk: Desk) -> None:
    row = desk.ask()
    desk.stores.catalog.remove_dataset("d")
    begin(desk.stores.catalog, replace(row, requested=False))
    with pytest.raises(ConflictError, match="now it is asked of the launcher"):
        desk.ask()
    desk.stores.catalog.end_ingest("d", "complete")
    assert desk.ask().state == "complete"


def test_the_command_line_may_go_on_with_a_request(desk: Desk) -> None:
    row = desk.ask()
    assert begin(desk.stores.catalog, replace(row, requested=False, processes=9, created=0.0)) == row


@pytest.mark.parametrize(
    "source",
    [
        "{}/../secret.bson",
        "{}/link.bson",
        "{}/linked/secret.bson",
        "{}-other/dump.bson",
        "dumps/dump.bson",
        "s3://shop/out/dump.bson",
        "s3://shop/in/../out/dump.bson",
        "s3://shop/in//dump.bson",
        "s3://shop/input/dump.bson",
        "s3://other/in/dump.bson",
        "/etc/passwd",
        "",
    ],
)
def test_nothing_outside_the_prefixes_is_read(desk: Desk, tmp_path: Path, source: str) -> None:
    (desk.folder / "link.bson").symlink_to(tmp_path / "secret.bson")
    (desk.folder / "linked").symlink_to(tmp_path)
    (tmp_path / "dumps-other").mkdir()
    (tmp_path / "dumps-other" / "dump.bson").write_bytes(b"some bytes")
    for changes in ({"source": source.format(desk.folder)}, {"categories": source.format(desk.folder) or "other.csv"}):
        with pytest.raises(BadInputError, match="lies under none of the folders"):
            desk.ask(**changes)
    assert desk.stores.catalog.ingests() == []


def test_a_link_within_the_prefixes_is_stored_as_what_it_names(desk: Desk) -> None:
    (desk.folder / "link.bson").symlink_to(desk.folder / "dump.bson")
    assert desk.ask(source=str(desk.folder / "link.bson")) == desk.ask()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "../d"}, "no name of a dataset"),
        ({"allow_bad": -1}, "negative"),
        ({"processes": 0}, "too few"),
    ],
)
def test_what_no_ingest_can_have_is_refused(desk: Desk, changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        desk.ask(**changes)


def test_only_dumps_are_read_by_many(desk: Desk) -> None:
    (desk.folder / "pictures.csv").write_bytes(b"x")
    with pytest.raises(BadInputError, match=r"no \.bson dump; others are read by `shelver ingest`"):
        desk.ask(source=str(desk.folder / "pictures.csv"))


def test_what_processes_say_is_summed(desk: Desk) -> None:
    objects = desk.stores.objects
    ingest_progress.put(objects, "d", 0, IngestProgress(10, 50, 1, 0, 5.0, 3.0))
    assert ingest_progress.read(objects, "d", 2) is None
    ingest_progress.put(objects, "d", 1, IngestProgress(20, 40, 2, 1, 6.0, 4.0))
    assert ingest_progress.read(objects, "d", 2) == IngestProgress(30, 90, 3, 1, 11.0, 4.0)
