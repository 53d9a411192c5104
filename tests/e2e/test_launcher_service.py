import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from services import cli
from shared import wiring
from shared.packs import read_manifest
from shared.settings import GatewaySettings, Settings, TelemetrySettings
from tests.launcher_home import LauncherHome, wait_for


@pytest.fixture
def home(tmp_path: Path, grocery: Path) -> Iterator[LauncherHome]:
    home = LauncherHome(tmp_path, grocery)
    with socket.create_server(("127.0.0.1", 0)) as free:
        telemetry = TelemetrySettings(port=free.getsockname()[1])
    home.settings = replace(home.settings, telemetry=telemetry)
    home.start()
    yield home
    if home.process is not None:
        home.stop(signal.SIGKILL)


def asked(home: LauncherHome, page: str) -> str:
    """A page of the service's telemetry."""
    with urlopen(f"http://127.0.0.1:{home.settings.telemetry.port}/{page}", timeout=10) as answer:
        return str(answer.read(), "utf-8")


def test_what_is_asked_for_by_rows_is_ingested_and_trained(home: LauncherHome, tmp_path: Path, grocery: Path) -> None:
    assert home.ask_ingest("train.bson").processes == 3
    wait_for(lambda: home.ingested() == "complete")
    table = str(grocery / "category_names.csv")
    other = tmp_path / "other"
    order = ["ingest", str(grocery / "train.bson"), "--dataset", "d", "--categories", table]
    assert cli.run(["--home", str(other), *order]) == 0
    manifest = read_manifest(home.stores.objects, "d")
    assert manifest.fingerprint == read_manifest(wiring.objects(Settings(home=other)), "d").fingerprint
    assert len(manifest.packs) > 3
    training = home.ask_training()
    wait_for(lambda: home.trained(training))
    version = home.stores.runs.version("tiny")
    assert home.stores.runs.training(training.id).version == version.version
    assert version.runs == {member: training.runs[member] for member in ("first", "second")}
    assert json.loads(asked(home, "readyz")) == {"documents": "ok", "objects": "ok", "launcher": "ok"}
    wait_for(lambda: 'shelver_runs{state="complete"} 2.0' in asked(home, "metrics"))
    assert f'shelver_ingested_products{{dataset="d"}} {manifest.products}.0' in asked(home, "metrics")
    assert home.stop(signal.SIGTERM) == 0


def test_a_bad_dump_is_told_by_its_row(home: LauncherHome, tmp_path: Path, grocery: Path) -> None:
    home.sources = tmp_path / "sources"
    home.sources.mkdir()
    (home.sources / "category_names.csv").write_bytes((grocery / "category_names.csv").read_bytes())
    content = (grocery / "train.bson").read_bytes()
    (home.sources / "bad.bson").write_bytes(content[:-100])
    home.settings = replace(home.settings, gateway=GatewaySettings(source_prefixes=str(home.sources)))
    home.ask_ingest("bad.bson")
    wait_for(lambda: home.ingested() == "failed")
    row = home.stores.catalog.ingest("d")
    assert row is not None
    assert "the last document is truncated" in row.error
    wait_for(lambda: not list((tmp_path / "processes").glob("*/process.json")))
