import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.subprocesses import SubprocessLauncher
from shared.ports import Launcher
from tests.contract.launcher_suite import DEADLINE_SECONDS, LauncherSuite, ended, program, wait_for


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    opened = SubprocessLauncher(tmp_path / "processes", {"SHELVER_HOME": "there"}, grace=DEADLINE_SECONDS)
    yield opened
    for name in opened.status():
        opened.delete(name)


class TestSubprocesses(LauncherSuite):
    """Jobs of a cluster run the same suite in tests/cluster."""


@pytest.mark.parametrize(("number", "state"), [(signal.SIGKILL, "preempted"), (signal.SIGSEGV, "failed")])
def test_how_a_signal_ended_a_process(launcher: Launcher, number: signal.Signals, state: str) -> None:
    launcher.launch("p", program(f"print('well done', flush=True); import os; os.kill(os.getpid(), {number.value})"))
    status = wait_for(launcher, "p", ended)
    assert (status.state, status.exit_code) == (state, -number)
    assert "well done" in status.log_tail


def test_a_child_notices_the_death_of_its_launcher_and_the_next_one_calls_it_preempted(tmp_path: Path) -> None:
    statement = "import sys; print('started', flush=True); sys.stdin.read()"
    driver = (
        "from pathlib import Path; import time; from shared.adapters.subprocesses import SubprocessLauncher;"
        f"SubprocessLauncher(Path({str(tmp_path)!r}), {{}}).launch('p', {program(statement)!r}); time.sleep(60)"
    )
    following = SubprocessLauncher(tmp_path, {})
    with subprocess.Popen([sys.executable, "-c", driver]) as first:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (status := following.status()) or "started" not in status["p"].log_tail:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert status["p"].state == "running"
        os.kill(first.pid, signal.SIGKILL)
    orphan = wait_for(following, "p", ended)
    assert (orphan.state, orphan.exit_code) == ("preempted", None)


def test_a_stranger_with_the_same_number_is_neither_taken_for_the_process_nor_ended(tmp_path: Path) -> None:
    launcher = SubprocessLauncher(tmp_path, {})
    launcher.launch("p", program("pass"))
    wait_for(launcher, "p", ended)
    (tmp_path / "p" / "exit.json").unlink()
    (tmp_path / "p" / "process.json").write_text(f'{{"pid": {os.getpid()}, "identity": "another time"}}')
    assert launcher.status()["p"].state == "preempted"
    launcher.delete("p")
    assert launcher.status() == {}


def test_a_process_that_does_not_heed_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    launcher = SubprocessLauncher(tmp_path, {}, grace=0.0)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('started', flush=True); time.sleep(60)"
    launcher.launch("p", program(deaf))
    wait_for(launcher, "p", lambda status: "started" in status.log_tail)
    launcher.delete("p")
    assert launcher.status() == {}
