from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import data
from benchmarks.rounds import Comparison, Timed, UnequalError, compare, timed


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
        return compare("some", ours, theirs, same, expected=2.0, words="theirs", rounds=rounds)


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
    for words in ("some", "3.00x", "(2.50-4.00)", "expected 2.00x", "ok", "3 rounds", "theirs"):
        assert words in line
    assert "below" in Sides([1.0] * 4, [1.9] * 4).compare().line()


@pytest.mark.parametrize("wrong", range(4))
def test_unequal_answers_in_any_round_are_refused(wrong: int) -> None:
    judged = iter(number != wrong for number in range(4))
    with pytest.raises(UnequalError, match=f"round {wrong}"):
        Sides([1.0] * 4, [1.0] * 4).compare(lambda ours, theirs: next(judged))


def test_answers_are_compared_ours_first() -> None:
    Sides([1.0] * 4, [1.0] * 4).compare(lambda ours, theirs: (ours, theirs) == ("ours", "theirs"))


def test_only_the_work_is_timed() -> None:
    clock = iter([5.0, 7.5]).__next__
    assert timed(lambda: "done", clock) == Timed(2.5, "done")


def test_pictures_and_dumps_are_the_same_again(tmp_path: Path) -> None:
    pictures = data.pictures(30)
    assert len(set(pictures)) == 30
    assert pictures == data.pictures(30)
    assert 4000 < sum(map(len, pictures)) / 30 < 5400
    for name in ("one", "two"):
        data.write_dump(tmp_path / name, 300_000, distinct=10)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert 300_000 <= (tmp_path / "one").stat().st_size < 330_000


TINY: dict[str, dict[str, Any]] = {
    "decoder": {"pictures": 40},
    "walk": {"size": 2**20},
    "ingest": {"size": 2**20},
    "engine": {"model": "test_resnet", "images": 10, "batch_images": 4},
    "stub": {"images": 40},
    "messages": {"images": 24, "chunk_images": 8, "singles": 10},
    "overhead": {"model": "test_resnet", "images": 20},
    "packed_put": {"size": 2**20, "singles": 20},
    "job_status": {"chunks": 20, "requests": 20},
    "two_workers": {"images": 64, "chunk_images": 16},
}


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_each_benchmark_runs_and_its_sides_agree(name: str, tmp_path: Path) -> None:
    found = command.function(name)(tmp_path, **TINY[name], rounds=1)
    assert found.ratio > 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_runs_and_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in command.BENCHMARKS)
    assert command.main(["faster"]) == 2
    assert "there is no benchmark faster" in capsys.readouterr().err

    def low(_: Path) -> Comparison:
        return Comparison("low", "something", 2.0, (1.0,))

    def unequal(_: Path) -> Comparison:
        raise UnequalError("unequal: in round 0")

    monkeypatch.setattr(command, "function", {"walk": low, "stub": low, "decoder": unequal}.__getitem__)
    assert command.main(["walk", "stub"]) == 0
    assert capsys.readouterr().out.count("below") == 4  # at once, and in the table at the end
    assert command.main(["decoder", "walk"]) == 1
    assert "unequal: in round 0" in capsys.readouterr().out
