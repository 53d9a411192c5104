import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.adapters.subprocesses import SubprocessLauncher
from shared.ports import Launched, Launcher

SLEEP = ["timeit", "-n1", "-r1", "-s", "import time", "print('started', flush=True); time.sleep(60)"]
DEADLINE_SECONDS = 30.0


def program(statement: str) -> list[str]:
    return ["timeit", "-n1", "-r1", statement]


def subprocesses(folder: Path) -> Launcher:
    return SubprocessLauncher(folder / "processes", {"SHELVER_HOME": "there"}, grace=DEADLINE_SECONDS)


ADAPTERS = [subprocesses]


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    opened: Launcher = request.param(tmp_path)
    yield opened
    for name in opened.status():
        opened.delete(name)


def wait_for(launcher: Launcher, name: str, condition: Callable[[Launched], bool]) -> Launched:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition(status := launcher.status()[name]):
        assert time.monotonic() < deadline, status
        time.sleep(0.01)
    return status


def ended(launched: Launched) -> bool:
    return launched.state != "running"


@pytest.mark.parametrize(
    ("statement", "state", "exit_code"),
    [
        ("print('well done')", "succeeded", 0),
        ("print('well done', flush=True); import os; os._exit(2)", "failed", 2),
        ("print('well done', flush=True); import os; os._exit(143)", "preempted", 143),
        ("print('well done', flush=True); import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "preempted", -9),
        ("print('well done', flush=True); import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", -11),
    ],
)
def test_how_a_process_ended(launcher: Launcher, statement: str, state: str, exit_code: int) -> None:
    launcher.launch("p", program(statement))
    status = wait_for(launcher, "p", ended)
    assert (status.state, status.exit_code) == (state, exit_code)
    assert "well done" in status.log_tail


def test_a_name_is_launched_once(launcher: Launcher, tmp_path: Path) -> None:
    count = program(f"open({str(tmp_path / 'count')!r}, 'a').write('x')")
    for _ in range(3):
        launcher.launch("p", count)
    wait_for(launcher, "p", ended)
    launcher.launch("p", count)
    assert launcher.status()["p"].state == "succeeded"
    assert (tmp_path / "count").read_text() == "x"


def test_a_deleted_name_may_be_launched_again(launcher: Launcher) -> None:
    launcher.launch("p", program("raise SystemExit(1)"))
    wait_for(launcher, "p", ended)
    launcher.delete("p")
    assert launcher.status() == {}
    launcher.launch("p", program("pass"))
    assert wait_for(launcher, "p", ended).state == "succeeded"


def test_deleting_ends_the_process(launcher: Launcher) -> None:
    launcher.launch("p", SLEEP)
    wait_for(launcher, "p", lambda status: "started" in status.log_tail)
    launcher.delete("p")
    launcher.delete("p")
    assert launcher.status() == {}


def test_the_environment_is_handed_on(launcher: Launcher) -> None:
    launcher.launch("p", program("import os; print(os.environ['SHELVER_HOME'])"))
    assert wait_for(launcher, "p", ended).log_tail.startswith("there")


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
