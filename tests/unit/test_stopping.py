import pytest
import torch
from torch import nn

from workers.training.checkpoints import Counters
from workers.training.stopping import EarlyStopping


@pytest.mark.parametrize(
    ("losses", "stopped_after", "best"),
    [
        ([3.0, 2.0, 2.0, 2.5, 1.0], 4, 2),  # equal is no better
        ([3.0, 2.0, 2.1, 1.9, 1.8, 1.7], None, 6),
        ([None, 3.0, None, 2.0], None, 4),
        ([None, None, 1.0], 2, 0),
    ],
)
def test_it_stops_after_two_epochs_without_a_better_loss(
    losses: list[float | None], stopped_after: int | None, best: int
) -> None:
    stopping, counters, network = EarlyStopping(2), Counters(), nn.Linear(1, 1)
    for epoch, loss in enumerate(losses, start=1):
        nn.init.constant_(network.weight, epoch)
        counters.epochs = epoch
        if stopping.judge(loss, network, counters):
            break
    assert (counters.epochs if stopped_after else None) == stopped_after
    assert counters.best_epoch == best
    if best:
        assert counters.best_loss == losses[best - 1]
        torch.testing.assert_close(stopping.weights["weight"], torch.tensor([[float(best)]]))
    else:
        assert not stopping.weights


def test_without_patience_nothing_is_kept() -> None:
    stopping, counters = EarlyStopping(0), Counters(epochs=5)
    assert not stopping.judge(1.0, nn.Linear(1, 1), counters)
    assert (stopping.weights, counters.best_epoch) == ({}, 0)
