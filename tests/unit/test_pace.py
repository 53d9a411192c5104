import pytest

from workers.training.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_of_the_last_ten_seconds() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate() == 0.0
    for second in range(1, 31):
        clock.now = second
        pace.add(100 if second <= 15 else 20)
        rate = pace.rate()
        if second == 15:
            assert rate == pytest.approx(100.0)
    assert rate == pytest.approx(20.0)


def test_time_aside_does_not_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now = 4.0
    pace.add(40)
    with pace.aside():
        clock.now = 1000.0
    clock.now = 1004.0
    pace.add(40)
    assert pace.rate() == pytest.approx(10.0)
