"""What every adapter of the Launcher port does; a subclass beside a fixture `launcher` runs it."""

import time
from collections.abc import Callable

import pytest

from shared.ports import Launched, Launcher

SLEEP = ["timeit", "-n1", "-r1", "-s", "import time", "print('started', flush=True); time.sleep(600)"]
DEADLINE_SECONDS = 60.0


def program(statement: str) -> list[str]:
    return ["timeit", "-n1", "-r1", statement]


def wait_for(launcher: Launcher, name: str, condition: Callable[[Launched], bool]) -> Launched:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition(status := launcher.status()[name]):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return status


def ended(launched: Launched) -> bool:
    return launched.state != "running"


def runs(launched: Launched) -> bool:
    return launched.state == "running" and not launched.reason


class LauncherSuite:
    @pytest.mark.parametrize(
        ("statement", "state", "exit_code"),
        [
            ("print('well done')", "succeeded", 0),
            ("print('well done', flush=True); import os; os._exit(2)", "failed", 2),
            ("print('well done', flush=True); import os; os._exit(143)", "preempted", 143),
        ],
    )
    def test_how_a_process_ended(self, launcher: Launcher, statement: str, state: str, exit_code: int) -> None:
        launcher.check()
        launcher.launch("p", program(statement))
        status = wait_for(launcher, "p", ended)
        assert (status.name, status.state, status.exit_code) == ("p", state, exit_code)
        assert "well done" in status.log_tail

    def test_a_name_is_launched_once(self, launcher: Launcher) -> None:
        now = program("import time; print(time.time_ns())")
        for _ in range(3):
            launcher.launch("p", now)
        first = wait_for(launcher, "p", ended)
        launcher.launch("p", now)
        assert launcher.status() == {"p": first}

    def test_a_deleted_name_may_be_launched_again(self, launcher: Launcher) -> None:
        launcher.launch("p", program("raise SystemExit(1)"))
        wait_for(launcher, "p", ended)
        launcher.delete("p")
        assert launcher.status() == {}
        launcher.launch("p", program("pass"))
        assert wait_for(launcher, "p", ended).state == "succeeded"

    def test_deleting_ends_the_process(self, launcher: Launcher) -> None:
        launcher.launch("p", SLEEP)
        wait_for(launcher, "p", runs)
        launcher.delete("p")
        launcher.delete("p")
        assert launcher.status() == {}

    def test_any_name_is_kept_apart_from_those_like_it(self, launcher: Launcher) -> None:
        names = ["ingest-a.b-0", "ingest-a_b-0", "ingest-A.b-0", "ingest-a-b-0", "ingest-" + "x" * 64 + "-0"]
        for name in names:
            launcher.launch(name, program(f"print('this is {name}')"))
        for name in names:
            assert f"this is {name}\n" in wait_for(launcher, name, ended).log_tail
        launcher.delete(names[0])
        assert sorted(launcher.status()) == sorted(names[1:])

    def test_a_long_log_is_cut_to_its_end(self, launcher: Launcher) -> None:
        launcher.launch("p", program("print('x' * 6000); print('é' * 10); print('the end')"))
        tail = wait_for(launcher, "p", ended).log_tail
        assert len(tail) <= 4096
        assert "the end" in tail

    def test_the_environment_is_handed_on(self, launcher: Launcher) -> None:
        launcher.launch("p", program("import os; print(os.environ['SHELVER_HOME'])"))
        assert wait_for(launcher, "p", ended).log_tail.startswith("there")
