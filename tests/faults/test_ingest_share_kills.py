"""Processes that share a dump full of traps, killed at random and started again, make what one process makes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import bson
import pytest

from services.ingest import IngestRequest, run
from shared import layout, wiring
from shared.ingest_requests import IngestOrder, request
from shared.settings import GatewaySettings, IngestSettings, Settings, to_environment
from tests.launcher_home import DEADLINE_SECONDS, no_buckets

KILLS = 8
COUNT = 3
PRODUCTS = 600
ENTICING = b"".join(bson.encode({"_id": number, "imgs": [{"picture": b"x"}]}) for number in range(400))
"""A picture full of documents: whoever begins in it begins at the wrong place."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every tenth product entices, and there is damage and a repeated product."""
    generator = random.Random(5)
    documents = [
        bson.encode({"_id": number, "imgs": [{"picture": ENTICING if number % 10 == 3 else generator.randbytes(900)}]})
        for number in range(PRODUCTS)
    ]
    path = tmp_path / "dump.bson"
    path.write_bytes(b"".join([*documents[:300], generator.randbytes(25_000), *documents[300:], *documents[:10]]))
    return path


def contents(settings: Settings, dataset: str) -> dict[str, bytes]:
    objects, prefix = wiring.objects(settings), layout.dataset_prefix(dataset)
    return {key.removeprefix(prefix): objects.read(key) for key in objects.list(prefix) if "manifest" not in key}


def start(settings: Settings, index: int) -> "subprocess.Popen[bytes]":
    order = ["--dataset", "d", "--index", str(index), "--count", str(COUNT)]
    return subprocess.Popen(
        [sys.executable, "-m", "services.ingest", *order],
        env={**os.environ, **to_environment(settings)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_shares_killed_at_random_moments_make_what_one_process_makes(source: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings = Settings(
        home=tmp_path / "home",
        ingest=IngestSettings(pack_bytes=20_000, block_bytes=4_000),
        gateway=GatewaySettings(source_prefixes=str(tmp_path)),
    )
    stores = wiring.stores(settings)
    run(stores, settings, IngestRequest(str(source), "expected", allow_bad=1, processes=1))
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        order = IngestOrder(dataset="d", source=str(source), processes=COUNT, allow_bad=1)
        request(stores, settings, order, buckets=no_buckets, now=float(rounds))
        working = {index: start(settings, index) for index in range(COUNT)}
        deadline = time.monotonic() + DEADLINE_SECONDS
        while working:
            assert time.monotonic() < deadline
            if kills < KILLS:
                time.sleep(chance.uniform(0.2, 1.0))
                working[chance.choice(sorted(working))].send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            for index, process in list(working.items()):
                code = process.wait(DEADLINE_SECONDS) if kills >= KILLS else process.poll()
                assert code in (None, 0, 143, -signal.SIGKILL, -signal.SIGTERM)
                if code == 0:
                    del working[index]
                elif code is not None:
                    kills += 1
                    working[index] = start(settings, index)
        assert contents(settings, "d") == contents(settings, "expected")
        row = stores.catalog.ingest("d")
        assert row is not None
        assert row.state == "complete"
        assert stores.catalog.count_products("d") == PRODUCTS
        assert stores.catalog.dataset("d").fingerprint == stores.catalog.dataset("expected").fingerprint
        for key in list(stores.objects.list(layout.dataset_prefix("d"))):
            stores.objects.delete(key)
        stores.catalog.remove_dataset("d")
