"""Averaged weights: an exponential moving average over the steps of a training (Polyak and Juditsky 1992)."""

from timm.utils.model_ema import ModelEmaV3
from torch import nn

from shared.domain.ensemble import Member

WARMUP_POWER = 0.75  # timm's for trainings of less than a million steps: 0.999 is reached at 10,000 steps


def average_of(member: Member, module: nn.Module) -> ModelEmaV3 | None:
    """The running average of `module`'s weights, None without `ema`.

    After n + 1 steps the decay is 1 - (1 + n)^-0.75, at most the member's: a short training would else end with an
    average that is mostly its initial weights.
    """
    if not member.ema:
        return None
    # timm's rather than torch's AveragedModel: it averages batch norm's means and variances along with the weights they
    # belong to, copies batch norm's counters (an average of integers is none), and brings the warm-up.
    return ModelEmaV3(module, decay=member.ema, use_warmup=True, warmup_power=WARMUP_POWER)
