import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.ensemble import Schedule
from shared.domain.schedules import rate


def test_steps_change_with_the_first_step_of_an_epoch() -> None:
    schedule = Schedule(kind="steps", rates=((1, 1e-4), (11, 2e-5), (14, 4e-6)))
    epochs = [rate(schedule, step, steps_per_epoch=5, epochs=19) for step in range(0, 95, 5)]
    assert epochs == [1e-4] * 10 + [2e-5] * 3 + [4e-6] * 6
    assert rate(schedule, 49, steps_per_epoch=5, epochs=19) == 1e-4
    assert rate(schedule, 50, steps_per_epoch=5, epochs=19) == 2e-5


def test_cosine_starts_at_the_rate_and_ends_near_the_floor() -> None:
    schedule = Schedule(kind="cosine", rate=1.0, floor=0.1)
    assert rate(schedule, 0, steps_per_epoch=10, epochs=4) == 1.0
    assert rate(schedule, 20, steps_per_epoch=10, epochs=4) == pytest.approx(0.55)
    assert rate(schedule, 39, steps_per_epoch=10, epochs=4) == pytest.approx(0.1, abs=0.01)


@settings(max_examples=60)
@given(
    warmup=st.floats(0, 6),
    steps=st.integers(1, 20),
    epochs=st.integers(1, 5),
    top=st.floats(1e-5, 10),
)
def test_cosine_rises_then_falls_and_stays_in_its_bounds(warmup: float, steps: int, epochs: int, top: float) -> None:
    schedule = Schedule(kind="cosine", rate=top, floor=top / 10, warmup=warmup)
    rates = [rate(schedule, step, steps_per_epoch=steps, epochs=epochs) for step in range(steps * epochs)]
    warm = math.ceil(min(warmup, epochs) * steps)
    assert all(0 < value <= top * (1 + 1e-12) for value in rates)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert all(value >= top / 10 * (1 - 1e-12) for value in rates[warm:])
