import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from torch.optim import SGD, Optimizer, lr_scheduler

from shared.domain.ensemble import Schedule, ScheduleKind
from shared.domain.schedules import rate

STEPS, EPOCHS, WARM = 8, 6, 2  # steps per epoch, epochs, of which warm-up
TOTAL, RISE = STEPS * EPOCHS, STEPS * WARM
Scheduler = Callable[[Optimizer], Any]


def rates(schedule: Schedule, steps: int = STEPS, epochs: int = EPOCHS) -> list[float]:
    return [rate(schedule, step, steps_per_epoch=steps, epochs=epochs) for step in range(steps * epochs)]


def optimizer_at(start: float) -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=start)


def stepped(start: float, scheduler: Scheduler, steps: int = TOTAL) -> list[float]:
    """The rates that torch's scheduler gives, one step after another."""
    optimizer = optimizer_at(start)
    made, found = scheduler(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


def after_rise(then: Scheduler) -> Scheduler:
    def make(optimizer: Optimizer) -> Any:
        rise = lr_scheduler.LinearLR(optimizer, 1 / RISE, 1.0, RISE - 1)
        return lr_scheduler.SequentialLR(optimizer, [rise, then(optimizer)], milestones=[RISE])

    return make


TORCH: list[tuple[Schedule, Scheduler]] = [
    (
        Schedule(kind="steps", rates=((1, 0.2), (3, 0.02), (5, 0.002))),
        lambda o: lr_scheduler.MultiStepLR(o, [2 * STEPS, 4 * STEPS], 0.1),
    ),
    (
        Schedule(kind="steps", rates=((1, 0.2), (4, 0.1))),
        lambda o: lr_scheduler.StepLR(o, 3 * STEPS, 0.5),
    ),
    (
        Schedule(kind="cosine", rate=0.2, floor=0.01),
        lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.01),
    ),
    (
        Schedule(kind="polynomial", rate=0.2, power=1.7),
        lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 1.7),
    ),
    (
        Schedule(kind="polynomial", rate=0.2, power=0.9, warmup=WARM),
        after_rise(lambda o: lr_scheduler.PolynomialLR(o, TOTAL - RISE, 0.9)),
    ),
    (
        Schedule(kind="exponential", rate=0.2, decay=0.7),
        lambda o: lr_scheduler.ExponentialLR(o, 0.7 ** (1 / STEPS)),
    ),
    (
        Schedule(kind="exponential", rate=0.2, decay=0.7, warmup=WARM),
        after_rise(lambda o: lr_scheduler.ExponentialLR(o, 0.7 ** (1 / STEPS))),
    ),
    (
        Schedule(kind="cyclic", rate=0.2, floor=0.01, cycle=2.5),
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, 10, mode="triangular", cycle_momentum=False),
    ),
    (
        Schedule(kind="cyclic_exponential", rate=0.2, floor=0.01, cycle=1.5, decay=0.8),
        lambda o: lr_scheduler.CyclicLR(
            o, 0.01, 0.2, 6, mode="exp_range", gamma=0.8 ** (1 / STEPS), cycle_momentum=False
        ),
    ),
]


@pytest.mark.parametrize(("schedule", "scheduler"), TORCH, ids=[f"{s.kind}-{i}" for i, (s, _) in enumerate(TORCH)])
def test_every_step_has_the_rate_of_torchs_scheduler(schedule: Schedule, scheduler: Scheduler) -> None:
    start = schedule.rates[0][1] if schedule.rates else schedule.rate
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)  # SequentialLR's own call
        expected = stepped(start, scheduler)
    assert rates(schedule) == pytest.approx(expected, rel=1e-9)


def test_exponential_has_the_rates_of_a_scheduler_stepped_per_epoch_where_epochs_begin() -> None:
    found = rates(Schedule(kind="exponential", rate=0.2, decay=0.7))
    assert found[::STEPS] == pytest.approx(stepped(0.2, lambda o: lr_scheduler.ExponentialLR(o, 0.7), EPOCHS))


@pytest.mark.parametrize(
    ("schedule", "scheduler", "own"),
    [
        (Schedule(kind="cosine", rate=0.2, floor=0.01, warmup=WARM), CosineLRScheduler, {}),
        (Schedule(kind="polynomial", rate=0.2, floor=0.01, power=0.5, warmup=WARM), PolyLRScheduler, {"power": 0.5}),
    ],
    ids=["cosine", "polynomial"],
)
def test_every_step_has_the_rate_of_timms_scheduler(schedule: Schedule, scheduler: Any, own: dict[str, Any]) -> None:
    optimizer = optimizer_at(0.2)
    timms = scheduler(optimizer, TOTAL - RISE, lr_min=0.01, warmup_t=RISE, warmup_prefix=True, t_in_epochs=False, **own)
    expected = []
    for step in range(TOTAL):
        # timm's first update has a rate of 0: while rates rise, ours are one step ahead
        timms.step_update(min(step + 1, RISE) if step < RISE else step)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(schedule) == pytest.approx(expected, rel=1e-12)


def test_plateaus_give_what_torch_makes_of_the_same_losses() -> None:
    losses = [2.0, 1.5, 1.5, 1.6, 1.4, 1.45, 1.5, 1.41, 1.42, 1.43, 1.6, 1.7, 1.8, 1.9]
    schedule = Schedule(kind="plateau", rate=0.2, floor=0.003, factor=0.3, patience=1)
    real, value = optimizer_at(0.2), optimizer_at(1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(real, factor=0.3, patience=1, min_lr=0.003)
    scales = lr_scheduler.ReduceLROnPlateau(value, factor=0.3, patience=1)
    found = []
    for epoch, loss in enumerate(losses):
        scale = value.param_groups[0]["lr"]
        found.append(rate(schedule, epoch, steps_per_epoch=1, epochs=len(losses), scale=scale))
        assert found[-1] == pytest.approx(real.param_groups[0]["lr"], rel=1e-12)
        theirs.step(loss)
        scales.step(loss)
    assert found[0] == 0.2
    assert found[-1] == 0.003
    assert len(set(found)) == 5


def test_a_plateau_within_the_warm_up_lowers_where_it_leads() -> None:
    schedule = Schedule(kind="plateau", rate=1.0, floor=0.2, warmup=2.0)
    assert [rate(schedule, step, steps_per_epoch=2, epochs=4, scale=0.5) for step in (0, 3, 4)] == [0.125, 0.5, 0.5]
    assert rate(schedule, 7, steps_per_epoch=2, epochs=4, scale=0.01) == 0.2


def released(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Steps and cosine as trainings made before the other kinds have them: run ids promise the same weights."""
    if schedule.kind == "steps":
        return [value for first, value in schedule.rates if first <= step // steps_per_epoch + 1][-1]
    warm = min(schedule.warmup, float(epochs)) * steps_per_epoch
    if step < warm:
        return schedule.rate * min(1.0, (step + 1) / warm)
    share = (step - warm) / max(1.0, steps_per_epoch * epochs - warm)
    return schedule.floor + (schedule.rate - schedule.floor) * 0.5 * (1.0 + math.cos(math.pi * share))


@settings(max_examples=60)
@given(
    warmup=st.floats(0, 6),
    steps=st.integers(1, 20),
    epochs=st.integers(1, 5),
    top=st.floats(1e-5, 10),
    low=st.floats(0, 1),
)
def test_released_kinds_keep_every_bit(warmup: float, steps: int, epochs: int, top: float, low: float) -> None:
    cosine = Schedule(kind="cosine", rate=top, floor=top * low, warmup=warmup)
    by_epoch = Schedule(kind="steps", rates=((1, top), (2, top / 3), (4, top * low)))
    for schedule in (cosine, by_epoch):
        assert rates(schedule, steps, epochs) == [
            released(schedule, step, steps, epochs) for step in range(steps * epochs)
        ]


SCHEDULES = st.builds(
    lambda kind, top, low, rest: Schedule(
        kind=kind, rate=top, floor=low * top, rates=((1, top), (3, low * top)) if kind == "steps" else (), **rest
    ),
    kind=st.sampled_from(get_args(ScheduleKind)),
    top=st.floats(1e-6, 10),
    low=st.floats(0, 1),
    rest=st.fixed_dictionaries(
        {
            "warmup": st.sampled_from([0.0, 0.3, 1.0, 2.5, 9.0]),
            "power": st.floats(0.1, 4),
            "decay": st.floats(0.01, 1),
            "cycle": st.floats(0.1, 9),
        }
    ),
)


@settings(max_examples=150)
@given(schedule=SCHEDULES, steps=st.integers(1, 12), epochs=st.integers(1, 5), scale=st.floats(0, 1))
def test_rates_stay_between_floor_and_rate(schedule: Schedule, steps: int, epochs: int, scale: float) -> None:
    found = [rate(schedule, step, steps_per_epoch=steps, epochs=epochs, scale=scale) for step in range(steps * epochs)]
    warm = math.ceil(min(schedule.warmup, epochs) * steps)
    bounds = schedule.floor * (1 - 1e-12), schedule.rate * (1 + 1e-12)
    assert all(math.isfinite(value) and 0 <= value <= bounds[1] for value in found)
    assert all(value >= bounds[0] for value in found[warm:])


@settings(max_examples=60)
@given(schedule=SCHEDULES, steps=st.integers(1, 12))
def test_a_warm_up_rises_in_equal_steps_to_the_rate_that_follows(schedule: Schedule, steps: int) -> None:
    first = schedule.rates[:1]  # a change of `steps` within the warm-up is none of the warm-up's
    schedule = replace(schedule, rates=first, warmup=max(schedule.warmup, 1.0))
    plain = rate(replace(schedule, warmup=0.0), 0, steps_per_epoch=steps, epochs=10)
    warm = math.ceil(schedule.warmup * steps)
    rising = [0.0, *rates(schedule, steps, 10)[:warm]]
    rises = [later - before for before, later in pairwise(rising)]
    assert rises[:-1] == pytest.approx([plain / (schedule.warmup * steps)] * (warm - 1), rel=1e-9, abs=1e-15)
    assert 0 <= rises[-1] <= rises[0] * (1 + 1e-9) + 1e-15
    assert rising[-1] == pytest.approx(plain, rel=1e-12)
