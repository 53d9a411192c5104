"""What a prediction needs of probabilities, found on the device: all that comes back from it."""

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.predictions import Summary, assemble, one_hot
from shared.domain.records import Prediction
from shared.domain.taxonomy import Taxonomy

KEPT = 64
"""Classes per product and combination that a job with kept scores stores."""

_LOW = 0xFFFFFFFF
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The highest classes of n rows, int32[n, k], their probabilities, float32[n, k], and the sum of all others."""

    class_index: npt.NDArray[np.int32]
    probability: npt.NDArray[np.float32]
    rest: npt.NDArray[np.float32]  # float32[n]

    def take(self, rows: Rows) -> "Kept":
        """These rows."""
        return Kept(self.class_index[rows], self.probability[rows], self.rest[rows])


class Summarising(Protocol):
    """What makes predictions of probabilities, of one category or of labels."""

    def predict(self, probabilities: Tensor, rows: Rows) -> list[Prediction]:
        """The predictions of some rows of float32 [combinations * n, classes], those of a combination together."""

    def certain(self, row: int) -> Prediction:
        """The prediction of a product that duplicates decided: a class, or the row of a label set."""

    def decided(self, row: int) -> npt.NDArray[np.float32]:
        """Its probabilities float32[classes]: 1 or 0."""


class Summariser:
    """Mirrors `shared.domain.predictions.summarise` on a device."""

    def __init__(self, taxonomy: Taxonomy, top_k: int, device: torch.device) -> None:
        self._taxonomy = taxonomy
        self._top_k = top_k
        self._classes = taxonomy.classes
        self._nodes = [
            (torch.from_numpy(node).to(device=device, dtype=torch.int64), len(nodes))
            for node, nodes in zip(taxonomy.node_of, taxonomy.nodes, strict=True)
        ]
        self._precise = torch.float64 if device.type == "cpu" else torch.float32

    def summarise(self, probabilities: Tensor) -> Summary:
        """The summary of float32 [n, classes]."""
        index, best = _highest(probabilities, max(2, self._top_k))
        precise = probabilities.to(self._precise)
        nodes = [self._best_node(precise, node, count) for node, count in self._nodes]
        second = best[:, 1] if self._classes > 1 else 0
        return Summary(
            class_index=index[:, : self._top_k].cpu().numpy(),
            probability=best[:, : self._top_k].cpu().numpy(),
            node_index=torch.cat([node for node, _ in nodes], dim=1).cpu().numpy(),
            node_probability=torch.cat([probability for _, probability in nodes], dim=1).cpu().numpy(),
            margin=(best[:, 0] - second).cpu().numpy(),
            entropy=(-torch.xlogy(precise, precise).sum(1)).clamp_min(0).to(torch.float32).cpu().numpy(),
        )

    def predict(self, probabilities: Tensor, rows: Rows) -> list[Prediction]:
        """The predictions of some rows of float32 [n, classes]."""
        summary = self.summarise(probabilities)
        some = Summary(*(getattr(summary, item.name)[rows] for item in fields(Summary)))
        return assemble(some, self._taxonomy)

    def certain(self, row: int) -> Prediction:
        """The prediction of a product that duplicates decided to be of this class."""
        return one_hot(row, self._taxonomy)

    def decided(self, row: int) -> npt.NDArray[np.float32]:
        """See `Summarising`."""
        return np.asarray(np.arange(self._classes) == row, dtype=np.float32)

    def _best_node(self, precise: Tensor, node: Tensor, count: int) -> tuple[Tensor, Tensor]:
        sums = precise.new_zeros((len(precise), count)).index_add_(1, node, precise)
        return _highest(sums.to(torch.float32).clamp_max(1), 1)


def keep(probabilities: Tensor) -> Kept:
    """The `KEPT` highest classes of float32 [n, classes]."""
    index, best = _highest(probabilities, KEPT)
    rest = (probabilities.sum(1, dtype=torch.float64) - best.sum(1, dtype=torch.float64)).clamp_min(0)
    return Kept(index.to(torch.int32).cpu().numpy(), best.cpu().numpy(), rest.to(torch.float32).cpu().numpy())


def _highest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indexes and values of the k highest of float32 [n, m] at or above 0; ties: the lower index, as topk alone is not.

    Floats at or above 0 are ordered as their bits, so value and index make one integer without ties.
    """
    places = torch.arange(values.shape[1], device=values.device)
    keys = (values.contiguous().view(torch.int32).to(torch.int64) << 32) | (_LOW - places)
    index = _LOW - (keys.topk(min(k, values.shape[1]), dim=1).values & _LOW)
    return index, values.gather(1, index)
