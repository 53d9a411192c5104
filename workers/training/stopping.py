"""Early stopping: when a training ends before its last epoch, and which weights it keeps."""

from collections.abc import Mapping

from torch import Tensor, nn

from workers.training.checkpoints import Counters


class EarlyStopping:
    """Keeps the weights of the epoch with the lowest watched loss, on the CPU."""

    def __init__(self, patience: int) -> None:
        """`patience` in epochs; 0 never stops and keeps nothing."""
        self._patience = patience
        self.weights: Mapping[str, Tensor] = {}

    def judge(self, loss: float | None, network: nn.Module, counters: Counters) -> bool:
        """Whether to stop after `counters.epochs` epochs, the last of which gave this watched loss (None: not finite).

        Where it is the lowest so far, `counters` and `weights` keep it.
        """
        if not self._patience:
            return False
        if loss is not None and (counters.best_loss is None or loss < counters.best_loss):
            counters.best_loss, counters.best_epoch = loss, counters.epochs
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
        return counters.epochs - counters.best_epoch >= self._patience
