"""A job cancelled from a second terminal, and one whose process has died."""

import shutil
import signal

import pytest

from shared import wiring
from shared.settings import Settings

SCORE = ("score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "64")


@pytest.fixture
def terminal(open_terminal, shop, tmp_path):
    shutil.copytree(shop.home, tmp_path / "home")
    return open_terminal(tmp_path / "home")


@pytest.fixture
def running(terminal, shop):
    """The job that is running and not the shop's; empty as long as there is none."""
    jobs = wiring.stores(Settings(home=terminal.home)).jobs
    return lambda: next((job.id for job in jobs.jobs() if job.id != shop.job and job.state == "running"), "")


def test_while_another_process_runs_it(terminal, running):
    with terminal.start(*SCORE) as process:
        terminal.wait(lambda: bool(running()), process)
        job = running()
        said = terminal.complete("cancel", job)
        # that process may have ended it already
        assert said in (f"job {job} is being cancelled by the process that runs it\n", f"job {job} is cancelled\n")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cancelled" in out.decode()
    assert err.decode().splitlines()[-1] == f"shelver: job {job} is cancelled"
    assert terminal.processes() == []


def test_when_its_process_has_died(terminal, running, shell):
    with terminal.start(*SCORE) as process:
        terminal.wait(lambda: bool(running()), process)
        process.send_signal(signal.SIGKILL)
    job = running()
    for _ in ("ends it", "finds it ended"):
        code, out, _ = shell("--home", terminal.home, "cancel", job)
        assert (code, out) == (0, f"job {job} is cancelled\n")
