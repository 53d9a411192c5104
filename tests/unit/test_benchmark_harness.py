"""How benchmarks time, compare, and write down what they found."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, processor, results
from benchmarks.rounds import Comparison, Goals, Round, Timed, UnequalError, compare, quantity, timed


class Sides:
    """Two sides that take what they are told and note when they are asked."""

    def __init__(self, ours: list[float], theirs: list[float]) -> None:
        self.asked: list[str] = []
        self.times = {"ours": iter(ours), "theirs": iter(theirs)}

    def side(self, name: str) -> Callable[[], Timed]:
        def asked() -> Timed:
            self.asked.append(name)
            return Timed(next(self.times[name]), name)

        return asked

    def compare(self, same: Callable[[Any, Any], bool] = lambda ours, theirs: True, rounds: int = 3) -> Comparison:
        ours, theirs = self.side("ours"), self.side("theirs")
        return compare("some", ours, theirs, same, must=2.0, aim=2.5, words="theirs", rounds=rounds)


def test_the_sides_take_turns_at_being_first_after_a_round_to_warm_up() -> None:
    sides = Sides([1.0] * 4, [1.0] * 4)
    sides.compare()
    assert sides.asked == ["theirs", "ours", "ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_the_ratios_are_those_of_each_round_without_the_first() -> None:
    found = Sides([9.0, 1.0, 2.0, 4.0], [1.0, 3.0, 5.0, 16.0]).compare()
    assert found.ratios == (3.0, 2.5, 4.0)
    assert found.ratio == 3.0


def test_a_line_says_all_that_is_to_be_known() -> None:
    line = Sides([9.0, 1.0, 2.0, 4.0], [1.0, 3.0, 5.0, 16.0]).compare().line()
    for words in ("some", "3.00x", "(2.50-4.00)", "must 2.00 ok", "aim 2.50 ok", "3 rounds, 2 s : 5 s", "theirs"):
        assert words in line
    line = Sides([1.0] * 4, [1.9] * 4).compare().line()
    assert "must 2.00 below" in line
    assert "aim 2.50 below" in line


def test_nothing_is_said_of_what_nobody_asked_for() -> None:
    assert Goals(must=1.0).words(1.0) == {"must": "1.00 ok"}
    assert Goals(aim=0.5).words(0.4) == {"aim": "0.50 below"}
    assert Goals().words(0.0) == {}


@pytest.mark.parametrize("wrong", range(4))
def test_unequal_answers_in_any_round_are_refused(wrong: int) -> None:
    judged = iter(number != wrong for number in range(4))
    with pytest.raises(UnequalError, match=f"round {wrong}"):
        Sides([1.0] * 4, [1.0] * 4).compare(lambda ours, theirs: next(judged))


def test_answers_are_compared_ours_first() -> None:
    Sides([1.0] * 4, [1.0] * 4).compare(lambda ours, theirs: (ours, theirs) == ("ours", "theirs"))


def test_only_the_work_is_timed() -> None:
    asked: list[str] = []
    clock, cpu = iter([5.0, 7.5]), iter([1.0, 4.0])

    def tell(name: str, values: Any) -> Callable[[], float]:
        return lambda: asked.append(name) or next(values)

    def work() -> str:
        asked.append("work")
        return "done"

    assert timed(work, tell("clock", clock), tell("cpu", cpu)) == Timed(2.5, "done", 3.0)
    assert asked == ["cpu", "clock", "work", "clock", "cpu"]  # to ask the second takes longer
    assert Timed(2.5, "done", 3.0).per(5) == Timed(0.5, "done", 0.6)


def test_a_side_whose_processor_is_not_known_says_so() -> None:
    found = Sides([1.0] * 4, [2.0] * 4).compare()
    assert all(map(math.isnan, found.cpu))
    assert "CPU - : -" in found.line()


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0, "s", "0 s"),
        (83.0, "s", "83 s"),
        (1234.0, "s", "1.23e+03 s"),
        (0.00123, "s", "1.23 ms"),
        (4.56e-7, "s", "456 ns"),
        (7e-10, "s", "7e-10 s"),
        (1.5e8, "B", "150 MB"),
        (math.nan, "s", "-"),
    ],
)
def test_quantities_have_prefixes(value: float, unit: str, words: str) -> None:
    assert quantity(value, unit) == words


def _burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_the_processor_counts_this_process_and_all_below_it() -> None:
    """A child that has ended, and one that still runs and has a child of its own."""
    before = processor.seconds()
    _burn(0.1)
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    subprocess.run([sys.executable, "-c", burn], check=True)
    own = processor.seconds() - before
    assert own >= 0.29
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert running.pid in processor.below(os.getpid())
        living = processor.seconds() - before
        assert living >= own + 0.18  # in hundredths
        running.communicate(b"\n")
    assert processor.seconds() - before >= living - 0.05


def test_processes_are_waited_for_until_they_end_or_for_so_long() -> None:
    waits = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdout.readline()
        began = time.monotonic()
        processor.wait_for([running.pid], 0.2)
        assert time.monotonic() - began >= 0.2
        running.stdin.close()
        reaper = threading.Thread(target=running.wait)
        reaper.start()
        processor.wait_for([running.pid], 600)
        reaper.join()
    assert running.returncode is not None


def test_the_machine_and_versions_are_known() -> None:
    found = machine.machine()
    assert found["cpu"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["memory"] > 2**28
    versions = machine.versions()
    assert versions["python"].startswith("3.")
    assert {"torch", "numpy", "simplejpeg"} <= set(versions)


def test_the_revision_says_where_files_differ(tmp_path: Path) -> None:
    assert machine.revision(tmp_path) == ""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert machine.revision(tmp_path) == commit
    (tmp_path / "file").touch()
    assert machine.revision(tmp_path) == f"{commit}, changed"


ABOUT = {
    "began": "2026-11-28T08-00-00Z",
    "revision": "abc",
    "machine": {"cpu": "Some", "cores": 2, "memory": 2**34, "gpu": "", "system": "Linux", "load": 0.1},
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
}


def test_what_was_found_is_written_with_every_round(tmp_path: Path) -> None:
    rounds = (Round(Timed(1.0, None, 1.5), Timed(3.0, None)), Round(Timed(2.0, None, 1.5), Timed(4.0, None)))
    found = [Comparison("walk", "PyMongo", Goals(must=2.0, aim=4.0), rounds)]
    page = results.write(tmp_path / "new", "some", ABOUT, found, ["ingest: the two sides gave different answers"])
    content = json.loads(page.with_suffix(".json").read_text())
    assert {name: content[name] for name in ABOUT} == ABOUT
    assert content["failures"] == ["ingest: the two sides gave different answers"]
    (row,) = content["rows"]
    assert (row["ratio"], row["range"], row["must"], row["aim"]) == (2.5, [2.0, 3.0], 2.0, 4.0)
    assert row["rounds"][0] == {"ratio": 3.0, "ours": {"took": 1.0, "cpu": 1.5}, "theirs": {"took": 3.0, "cpu": None}}
    lines = page.read_text().splitlines()
    assert "| walk | 2.50x | 2.00-3.00 | 2.00 ok | 4.00 below | 1.5 s | 3.5 s | 1.5 s | - | PyMongo |" in lines
    for words in ("revision abc", "Some, 2 cores, 16 GiB, no GPU", "numpy 2.4.6", "different answers"):
        assert words in page.read_text()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_the_peak_of_memory_is_that_of_all_processes_below_together() -> None:
    """One beside another, and then one alone: its fork shares what it holds."""

    def hold(size: int) -> Callable[[], object]:
        held = f"import os, subprocess, sys, time; held = bytearray(b'1') * {size}; time.sleep(0.3); "
        both = f"{held} subprocess.run([sys.executable, '-c', {held!r}]); os.fork() or (time.sleep(0.3), os._exit(0))"
        return lambda: subprocess.run([sys.executable, "-c", f"{both}; os.wait()"], check=True)

    more = processor.peak_bytes(hold(100_000_000)) - processor.peak_bytes(hold(1))
    assert 190_000_000 < more < 220_000_000
