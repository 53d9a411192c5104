"""Learning rates by step. Pure and stateless, so that a resumed run, a check and a plot agree.

Where kinds come from: cosine is Loshchilov and Hutter's (SGDR, 2017) without restarts; polynomial Chen et al.'s
(DeepLab, 2018); the cycles are Smith's (Cyclical learning rates, 2017), `triangular` and `exp_range`; the linear
warm-up is Goyal et al.'s (Accurate, large minibatch SGD, 2017). Step by step they equal the schedulers of torch:
LinearLR from 1 / w to 1 in w - 1 steps (a warm-up of w steps: its first step has a rate already, its last the full
one), then PolynomialLR, CosineAnnealingLR, CyclicLR, MultiStepLR. ExponentialLR changes once an epoch; the one here
falls with every step and has the same rate where an epoch begins.
"""

import math

from shared.domain.ensemble import Schedule


def rate(schedule: Schedule, step: int, *, steps_per_epoch: int, epochs: int, scale: float = 1.0) -> float:
    """The learning rate of `step` (from 0) of `steps_per_epoch * epochs`.

    `scale` is what the plateaus so far have left of 1 (the product of their factors); only `plateau` heeds it. A
    warm-up rises from near 0 to the rate that follows it: for cycles their floor, for `steps` the epoch's own.
    """
    warm = min(schedule.warmup, float(epochs)) * steps_per_epoch
    if step < warm:
        return _start(schedule, step // steps_per_epoch + 1, scale) * min(1.0, (step + 1) / warm)
    since, height = step - warm, schedule.rate - schedule.floor
    share = min(1.0, since / max(1.0, steps_per_epoch * epochs - warm))
    match schedule.kind:
        case "cosine":
            return schedule.floor + height * 0.5 * (1.0 + math.cos(math.pi * share))
        case "polynomial":
            return schedule.floor + height * math.pow(1.0 - share, schedule.power)
        case "exponential":
            return max(schedule.floor, schedule.rate * math.pow(schedule.decay, since / steps_per_epoch))
        case "cyclic" | "cyclic_exponential":
            return schedule.floor + height * _cycle(schedule, since / steps_per_epoch)
    return _start(schedule, step // steps_per_epoch + 1, scale)


def _start(schedule: Schedule, epoch: int, scale: float) -> float:
    """Where the warm-up leads, and the rate of the kinds that stay level within an epoch (from 1)."""
    match schedule.kind:
        case "steps":
            return [value for first, value in schedule.rates if first <= epoch][-1]
        case "plateau":
            return max(schedule.floor, schedule.rate * scale)
        case "cyclic" | "cyclic_exponential":
            return schedule.floor
    return schedule.rate


def _cycle(schedule: Schedule, epochs: float) -> float:
    """How much of its height a cycle has, 0 to 1, so many epochs after the first began."""
    cycles = epochs / schedule.cycle
    rise = 1.0 - abs(2.0 * (cycles - math.floor(cycles)) - 1.0)
    return rise * math.pow(schedule.decay, epochs) if schedule.kind == "cyclic_exponential" else rise
