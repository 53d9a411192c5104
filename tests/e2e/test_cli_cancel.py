"""A job cancelled from a second terminal, and one whose process has died."""

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from shared import wiring
from shared.settings import Settings

SCORE = ("score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "64")


@pytest.fixture
def terminal(open_terminal, shop, tmp_path):
    shop.copy(tmp_path / "home")
    return open_terminal(tmp_path / "home")


@pytest.fixture
def running(terminal, shop):
    """The job that is running and not the shop's; empty as long as there is none."""
    jobs = wiring.stores(Settings(home=terminal.home)).jobs
    return lambda: next((job.id for job in jobs.jobs() if job.id != shop.job and job.state == "running"), "")


def stop_between_writes(process, home):
    """Stop a process at a moment at which it does not hold the database."""
    while True:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        with closing(sqlite3.connect(home / "shelver.sqlite", timeout=1, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)


def test_while_another_process_runs_it(terminal, running):
    with terminal.start(*SCORE) as process:
        terminal.wait(lambda: bool(running()), process)
        job = running()
        stop_between_writes(process, terminal.home)  # else it may end the job before the words are chosen
        said = terminal.complete("cancel", job)
        assert said == f"job {job} is being cancelled by the process that runs it\n"
        process.send_signal(signal.SIGCONT)
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
