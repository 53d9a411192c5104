"""Learning rates by step: step-wise by epoch, and the cosine of Loshchilov and Hutter (2017) after a linear rise."""

import math

from shared.domain.ensemble import Schedule


def rate(schedule: Schedule, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of `step` (from 0) of `steps_per_epoch * epochs`."""
    if schedule.kind == "steps":
        epoch = step // steps_per_epoch + 1
        return [value for first, value in schedule.rates if first <= epoch][-1]
    warm = min(schedule.warmup, float(epochs)) * steps_per_epoch
    if step < warm:
        return schedule.rate * min(1.0, (step + 1) / warm)
    share = (step - warm) / max(1.0, steps_per_epoch * epochs - warm)
    return schedule.floor + (schedule.rate - schedule.floor) * 0.5 * (1.0 + math.cos(math.pi * share))
