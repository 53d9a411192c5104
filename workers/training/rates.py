"""The learning rate of every step, which on a plateau depends on what was watched."""

from typing import Any

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from shared.domain import schedules
from shared.domain.ensemble import Schedule


class Rates:
    """A schedule's rates; those of `plateau` fall when the watched loss stays as it is.

    torch's ReduceLROnPlateau decides: a loss is better when it is lower by 1 part in 10,000, and the rate falls after
    more than `patience` epochs in a row without a better one. Epochs that begin in the warm-up are not judged.
    """

    def __init__(self, schedule: Schedule, *, steps_per_epoch: int, epochs: int) -> None:
        self._schedule = schedule
        self._steps_per_epoch = steps_per_epoch
        self._epochs = epochs
        self._plateau: ReduceLROnPlateau | None = None
        if schedule.kind == "plateau":
            # The scheduler wants an optimizer that holds what it lowers: here the share of the rate that is left.
            share = SGD([torch.zeros(1)], lr=1.0)
            self._plateau = ReduceLROnPlateau(share, factor=schedule.factor, patience=schedule.patience)

    def of(self, step: int) -> float:
        """The rate of a step (from 0)."""
        scale = 1.0 if self._plateau is None else float(self._plateau.get_last_lr()[0])
        return schedules.rate(
            self._schedule, step, steps_per_epoch=self._steps_per_epoch, epochs=self._epochs, scale=scale
        )

    def judge(self, epoch: int, loss: float | None) -> None:
        """Take note of the loss watched after an epoch (from 1); None, where there is no finite one, is no better."""
        if self._plateau is not None and epoch - 1 >= self._schedule.warmup:
            self._plateau.step(torch.inf if loss is None else loss)

    def state(self) -> dict[str, Any]:
        """What `restore` takes: JSON values."""
        return {} if self._plateau is None else self._plateau.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as from `state`."""
        if self._plateau is not None and state:
            self._plateau.load_state_dict(state)
            self._plateau.optimizer.param_groups[0]["lr"] = self._plateau.get_last_lr()[0]
