"""`shelver up`: the API on embedded stores; what it scores is what the command line scores."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.conftest import Shop
from tests.ports import free_port

SECONDS = 120.0


def start(home: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "services.cli", "--home", str(home), "up", "--port", str(port)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_until_ready(client: httpx2.Client, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            client.get("/readyz").raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def home(shop: Shop, tmp_path: Path) -> Path:
    shop.copy(tmp_path / "home")
    return tmp_path / "home"


def test_a_job_is_scored_across_a_restart_as_on_the_command_line(shell, shop: Shop, home: Path, tmp_path: Path) -> None:
    theirs, port = tmp_path / "theirs.csv", free_port()
    assert shell("--home", shop.home, "export", shop.job, "-o", theirs)[0] == 0
    order = {"dataset": "test", "ensemble": "tiny", "skip_decided": False, "chunk_images": 64}
    job, content = "", b""
    for start_number in range(2):
        process = start(home, port)
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
                wait_until_ready(client, process)
                client.headers["Authorization"] = f"Bearer {(home / 'admin.key').read_text().strip()}"
                job = job or client.post("/v1/jobs", json=order).json()["id"]
                deadline = time.monotonic() + SECONDS
                while start_number and client.get(f"/v1/jobs/{job}").json()["state"] != "succeeded":
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                if start_number:
                    content = client.get(f"/v1/jobs/{job}/predictions", params={"format": "csv"}).content
                    assert "shelver_dispatcher_leader 1.0" in client.get("/metrics").text
                    while 'shelver_jobs{state="succeeded"} 2.0' not in client.get("/metrics").text:
                        assert time.monotonic() < deadline
                        time.sleep(0.1)
                refused = shell("--home", home, "score", "test", "--ensemble", "tiny")
                assert refused[0] == 1
                assert "another shelver is working here" in refused[2]
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, log
        assert "Traceback" not in log

    assert content == theirs.read_bytes()
    assert (home / "admin.key").stat().st_mode & 0o077 == 0
