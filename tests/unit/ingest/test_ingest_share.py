import itertools
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest

from services.ingest import share
from shared import ingest_progress
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import BadInputError
from shared.domain.records import Ingest
from shared.ingest_requests import IngestOrder, request
from shared.packs import read_manifest
from shared.settings import GatewaySettings
from tests.mortal import Died, Mortal

Products = Callable[..., list[dict[str, Any]]]
ENTICING = b"".join(bson.encode({"_id": number, "imgs": [{"picture": b"x"}]}) for number in range(150))
"""A picture full of documents: a process that begins in it takes the first of them for a start."""


class Sharing:
    """The shop of these tests, whose ingests are asked for and done in shares."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.bucket = DirectoryObjects(shop.home / "bucket")
        prefixes = f"{shop.home},s3://bucket/"
        self.settings = replace(shop.settings, gateway=GatewaySettings(source_prefixes=prefixes))

    def ask(self, source: str, processes: int, **options: Any) -> Ingest:
        order = IngestOrder(dataset="d", source=source, processes=processes, categories=str(self.shop.categories))
        buckets = lambda _: self.bucket  # noqa: E731
        return request(self.shop.stores, self.settings, replace(order, **options), buckets=buckets, now=5.0)

    def work(self, index: int, count: int, clock: Callable[[], float] = time.monotonic) -> str:
        settings, buckets = self.settings.ingest, lambda _: self.bucket
        return share.run(self.shop.stores, settings, "d", index, count, buckets=buckets, clock=clock, now=lambda: 5.0)

    def row(self) -> Ingest:
        row: Ingest = self.shop.catalog.ingest("d")
        return row


@pytest.fixture
def sharing(shop: Any) -> Sharing:
    return Sharing(shop)


def tricky(products: Products) -> list[dict[str, Any] | bytes]:
    """Damage, a repeated product, and a picture full of documents."""
    documents = products(60)
    enticing = {"_id": 77, "imgs": [{"picture": ENTICING}], "category_id": 10}
    return [*documents[:20], enticing, *documents[20:40], b"\0\0\0\0 damage", *documents[40:], documents[3]]


def test_shares_in_any_order_make_what_one_process_makes(sharing: Sharing, products: Products, seed: int) -> None:
    source = sharing.shop.dump(tricky(products))
    expected = sharing.shop.ingest(source, "expected", allow_bad=1)
    assert len(expected.packs) > 5
    chance = random.Random(seed)
    for count in (1, 2, 3, 50):
        sharing.ask(source, count, allow_bad=1)
        order = chance.sample(range(count), count)
        ends = [sharing.work(index, count) for index in order]
        complete = ["is complete" in end for end in ends]
        assert complete == sorted(complete)
        assert sum(complete) == 1 or count > len(expected.packs)
        assert sharing.shop.contents("d") == sharing.shop.contents("expected")
        manifest = read_manifest(sharing.shop.objects, "d")
        assert manifest == replace(expected, dataset="d", packs=manifest.packs)
        assert sharing.shop.catalog.count_products("d") == expected.products
        assert sharing.row().state == "complete"
        for product in sharing.shop.catalog.products("expected"):
            assert sharing.shop.catalog.product("d", product.id) == replace(product, dataset="d")
        assert sharing.work(0, count) == "dataset d is complete"
        sharing.shop.catalog.remove_dataset("d")
        for key in list(sharing.shop.objects.list("datasets/d/")):
            sharing.shop.objects.delete(key)


def test_a_dump_in_a_bucket_is_read_by_ranges(sharing: Sharing, products: Products) -> None:
    source = sharing.shop.dump(tricky(products))
    sharing.bucket.put("dumps/dump.bson", Path(source).read_bytes())
    sharing.shop.ingest(source, "expected", allow_bad=1)
    sharing.ask("s3://bucket/dumps/dump.bson", 2, allow_bad=1)
    sharing.work(1, 2)
    sharing.work(0, 2)
    assert sharing.shop.contents("d") == sharing.shop.contents("expected")


@pytest.mark.parametrize("store", ["objects", "catalog"])
def test_shares_that_die_at_any_change_go_on_to_the_same_end(sharing: Sharing, products: Products, store: str) -> None:
    documents = products(5)
    source = sharing.shop.dump([*documents, {"_id": 77, "imgs": [{"picture": ENTICING}]}, documents[3]])
    expected = sharing.shop.ingest(source, "expected")
    verbs = {"objects": ("put", "delete"), "catalog": ("end_ingest", "add_products", "add_dataset")}[store]
    undying = getattr(sharing.shop, store)
    lives = 0
    died = True
    while died:
        lives += 1
        sharing.ask(source, 2)
        setattr(sharing.shop.stores, store, Mortal(undying, verbs, lives))
        died = False
        for index in (1, 0):
            try:
                sharing.work(index, 2)
            except Died:
                died = True
                break
        setattr(sharing.shop.stores, store, undying)
        for index in (1, 0):
            sharing.work(index, 2)
        assert sharing.shop.contents("d") == sharing.shop.contents("expected")
        assert sharing.shop.catalog.count_products("d") == expected.products
        sharing.shop.catalog.remove_dataset("d")
        for key in list(sharing.shop.objects.list("datasets/d/")):
            sharing.shop.objects.delete(key)
    assert lives > (3 if store == "catalog" else 20)


def test_a_bad_dump_is_told_by_its_row_and_stops_the_others(sharing: Sharing, products: Products) -> None:
    documents = products(60)
    sharing.ask(sharing.shop.dump([*documents[:50], b"\0\0\0\0 damage", *documents[50:]]), 2)
    assert "others of d are not" in sharing.work(1, 2)
    with pytest.raises(BadInputError, match="length field is zero") as caught:
        sharing.work(0, 2)
    assert (sharing.row().state, sharing.row().error) == ("failed", str(caught.value))
    assert sharing.row().bad_input
    with pytest.raises(BadInputError, match=r"it has failed: .*length field is zero"):
        sharing.work(1, 2)


def test_the_first_share_tells_a_bad_dump_before_the_others_have_looked(sharing: Sharing, products: Products) -> None:
    sharing.ask(sharing.shop.dump([b"this is text, ", *products(60)]), 2)
    with pytest.raises(BadInputError, match="offset 0: its length field is too large"):
        sharing.work(0, 2)
    assert sharing.row().state == "failed"


def test_a_source_that_changed_or_went_is_bad_input(sharing: Sharing, products: Products) -> None:
    source = Path(sharing.shop.dump(products(20)))
    sharing.ask(str(source), 1)
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(BadInputError, match="has changed since it was asked for"):
        sharing.work(0, 1)
    sharing.shop.catalog.end_ingest("d", "running")
    source.unlink()
    with pytest.raises(BadInputError, match="there is no such file"):
        sharing.work(0, 1)
    assert sharing.row().state == "failed"


@pytest.mark.parametrize("end", ["complete", "failed", "removed"])
def test_a_share_stops_once_nobody_wants_it(sharing: Sharing, products: Products, end: str) -> None:
    sharing.ask(sharing.shop.dump(products(60)), 1)
    ticks = itertools.count()

    def clock() -> float:
        if (tick := next(ticks)) == 5:
            if end == "removed":
                sharing.shop.catalog.remove_dataset("d")
            else:
                sharing.shop.catalog.end_ingest("d", end, "by another")
        return float(tick)

    if end == "failed":
        with pytest.raises(BadInputError, match="it has failed: by another"):
            sharing.work(0, 1, clock)
    else:
        words = {"complete": "dataset d is complete", "removed": "the ingest is gone"}[end]
        assert sharing.work(0, 1, clock) == words
    assert not list(sharing.shop.objects.list("datasets/d/manifest"))


def test_what_a_removed_ingest_left_is_not_taken_for_a_part_of_the_next(sharing: Sharing, products: Products) -> None:
    source = sharing.shop.dump(products(60))
    sharing.ask(source, 2)
    sharing.work(0, 2)
    sharing.shop.catalog.remove_dataset("d")
    Path(source).write_bytes(Path(sharing.shop.dump(products(60, 8), "other.bson")).read_bytes())
    expected = sharing.shop.ingest(source, "expected")
    sharing.ask(source, 2)
    assert "others of d are not" in sharing.work(1, 2)
    assert "is complete" in sharing.work(0, 2)
    assert read_manifest(sharing.shop.objects, "d").fingerprint == expected.fingerprint
    assert sharing.shop.contents("d") == sharing.shop.contents("expected")


def test_only_what_was_asked_for_is_done(sharing: Sharing, products: Products) -> None:
    with pytest.raises(BadInputError, match="nobody has asked for it"):
        sharing.work(0, 1)
    sharing.ask(sharing.shop.dump(products(20)), 2)
    for index, count in ((0, 1), (2, 2), (-1, 2)):
        with pytest.raises(BadInputError, match=rf"no process {index} of {count}: it was asked for with 2"):
            sharing.work(index, count)
    assert sharing.row().state == "running"


def test_a_share_says_how_far_it_is_also_after_a_restart(sharing: Sharing, products: Products) -> None:
    source = sharing.shop.dump(products(60))
    sharing.ask(source, 2)
    for _ in range(2):
        sharing.work(1, 2)
        told = sharing.shop.objects.read("datasets/d/ingest/progress-1.json")
        progress = ingest_progress.IngestProgress(**json.loads(told))
        assert 0.8 < progress.bytes_done / (progress.bytes_total or 1) <= 1.0
        assert 20 < progress.documents < 40
