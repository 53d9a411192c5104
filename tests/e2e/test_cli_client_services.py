"""From a dump to a submission through a gateway, every service a process of its own: the bytes of a local run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from shared import wiring
from shared.settings import (
    GatewaySettings,
    LauncherSettings,
    LeaseSettings,
    Settings,
    TelemetrySettings,
    to_environment,
)
from tests.conftest import Shop
from tests.ports import free_port
from tests.servers.process import Process

SECONDS = 120.0
ADMIN = "the-first-key"


def healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, grocery: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        queue=redis_url,
        leases=LeaseSettings(poll_seconds=0.05),
        launcher=LauncherSettings(poll_seconds=0.1),
        gateway=GatewaySettings(port=free_port(), admin_key=ADMIN, source_prefixes=f"{grocery},{tmp_path}"),
    )


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Starts `python -m MODULE`."""
    started: list[Process] = []

    def one(module: str) -> None:
        own = replace(settings, telemetry=TelemetrySettings(port=free_port()))
        port = own.gateway.port if module == "services.gateway" else own.telemetry.port
        command, environment = [sys.executable, "-m", module], to_environment(own)
        log = tmp_path / f"{module}.log"
        started.append(Process(module, command, log, ready=lambda: healthy(port), environment=environment))
        started[-1].start()

    yield one
    for process in started:
        process.kill()


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's address and key, as a person exports them."""
    monkeypatch.setenv("SHELVER_SERVER", f"http://127.0.0.1:{settings.gateway.port}")
    monkeypatch.setenv("SHELVER_KEY", ADMIN)


@pytest.mark.usefixtures("environment")
def test_from_a_dump_to_a_submission(
    shell: Callable[..., tuple[int, str, str]],
    start: Callable[[str], None],
    settings: Settings,
    shop: Shop,
    grocery: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("services.gateway", "services.launcher"):
        start(module)
    monkeypatch.chdir(grocery)  # what is named from here is found at the server too
    for name in ("train", "test"):
        order = ("ingest", f"{name}.bson", "--dataset", name, "--categories", "category_names.csv", "--json")
        code, out, err = shell(*order)
        assert code == 0, err
        local = wiring.stores(Settings(home=shop.home)).catalog.dataset(name)
        assert (json.loads(out)["fingerprint"], json.loads(out)["bad"]) == (local.fingerprint, [])
        assert shell(*order) == (0, out, f"dataset {name} is complete already: skipped\n")
    spoiled = tmp_path / "spoiled.bson"
    spoiled.write_bytes((grocery / "test.bson").read_bytes()[:-100])
    code, _, err = shell("ingest", spoiled, "--dataset", "spoiled")
    assert code == 2
    assert str(spoiled) in err.splitlines()[-1]
    assert "the last document is truncated" in err.splitlines()[-1]

    impossible = tmp_path / "impossible.yaml"
    impossible.write_text(shop.ensemble_file.read_text().replace("epochs: 2", "epochs: 2\n  trains: [layer9]"))
    code, _, err = shell("train", impossible, "--dataset", "train")
    assert (code, "it has no module 'layer9'; name modules as timm does" in err.splitlines()[-1]) == (2, True)

    train = ("train", shop.ensemble_file, "--dataset", "train")
    code, out, err = shell(*train)
    assert code == 0, err
    version = wiring.stores(Settings(home=shop.home)).runs.version("tiny")
    assert out.splitlines()[-1] == f"ensemble tiny@{version.version} is ready and current"
    assert "train tiny" in err
    assert shell(*train)[2].splitlines() == [f"member {one} is complete already: skipped" for one in version.runs]

    score = ("score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128")
    job = leave(score, settings)
    for module in ("services.dispatcher", "workers.scoring.service"):
        start(module)
    code, out, err = shell(*score, "--json")
    assert code == 0, err
    assert (json.loads(out)["job"], json.loads(out)["state"], json.loads(out)["done"]) == (job, "succeeded", 290)
    assert "290/290 products" in err.splitlines()[-1]
    assert shell("jobs", job, "--watch", "--json")[1] == out.replace("{\n", f'{{\n  "id": "{job}",\n', 1)

    mine, theirs = tmp_path / "mine.csv", tmp_path / "theirs.csv"
    assert shell("export", job, "-o", theirs) == (0, f"290 rows in {theirs}\n", "")
    monkeypatch.delenv("SHELVER_SERVER")
    assert shell("--home", shop.home, "export", shop.job, "-o", mine)[0] == 0
    assert theirs.read_bytes() == mine.read_bytes()


def leave(score: tuple[str, ...], settings: Settings) -> str:
    """Ask for a job that nobody scores yet and press Ctrl-C; the job."""
    jobs = wiring.stores(settings).jobs
    command = [sys.executable, "-m", "services.cli", *score]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stderr is not None
        first = process.stderr.readline()  # it follows the job
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read().splitlines()
        assert process.wait(SECONDS) == 130
    (job,) = jobs.jobs()
    assert first.startswith("score test    0 %  0/290 products")
    *more, follows, ended = said  # a slow machine may have told of its progress once more, and of nothing else
    assert all(line.startswith("score test    0 %  0/290 products") for line in more)
    assert [follows, ended] == [
        f"job {job.id} goes on at the server: `shelver jobs {job.id} --watch` follows it, "
        f"`shelver cancel {job.id}` stops it",
        "interrupted; the same command goes on where this one stopped",
    ]
    assert job.state == "queued"
    return job.id
