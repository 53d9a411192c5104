import pytest

from shared.domain import schedules
from shared.domain.ensemble import Schedule
from workers.training.rates import Rates

PLATEAU = Schedule(kind="plateau", rate=0.8, factor=0.5, patience=1, floor=0.15, warmup=1.0)
LOSSES = [9.0, 2.0, 3.0, 1.0, 1.0, 1.00001, None, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
# The first epoch warms up. More than one epoch in a row without a better loss: after 6 and 9..14, down to the floor.
RATES = [0.8, 0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.15, 0.15, 0.15]


def rates_of(schedule: Schedule) -> Rates:
    return Rates(schedule, steps_per_epoch=4, epochs=len(LOSSES) + 1)


def test_a_plateau_lowers_the_rate_by_hand() -> None:
    rates = rates_of(PLATEAU)
    assert [rates.of(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    for epoch, (loss, expected) in enumerate(zip(LOSSES, RATES, strict=True), start=1):
        rates.judge(epoch, loss)
        assert rates.of(4 * epoch) == pytest.approx(expected), epoch


@pytest.mark.parametrize("at", range(len(LOSSES)))
def test_rates_go_on_from_their_state_at_any_epoch(at: int) -> None:
    rates = rates_of(PLATEAU)
    for epoch, loss in enumerate(LOSSES, start=1):
        if epoch == at:
            state = rates.state()
            rates = rates_of(PLATEAU)
            rates.restore(state)
        rates.judge(epoch, loss)
    assert rates.of(4 * len(LOSSES)) == pytest.approx(RATES[-1])


def test_other_schedules_heed_no_loss() -> None:
    cosine = Schedule(kind="cosine", rate=1.0, warmup=0.5)
    rates = rates_of(cosine)
    for epoch in range(1, 6):
        rates.judge(epoch, 1.0)
    rates.restore(rates.state())
    assert [rates.of(step) for step in range(60)] == [
        schedules.rate(cosine, step, steps_per_epoch=4, epochs=len(LOSSES) + 1) for step in range(60)
    ]
