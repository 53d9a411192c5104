"""What is sent back of products with labels: those above their thresholds, and the best k, whatever their number."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.fits import SURE, Fit
from shared.domain.label_sets import LabelSets
from shared.domain.predictions import predict_labels
from shared.domain.records import Prediction
from shared.domain.taxonomy import Taxonomy

Rows = npt.NDArray[np.int64]


class LabelSummariser:
    """As `workers.scoring.summaries.Summariser`, of a multilabel ensemble. Its results are `predict_labels`'."""

    def __init__(self, taxonomy: Taxonomy, sets: LabelSets | None, fits: Sequence[Fit], top_k: int) -> None:
        """`fits` are those of the combinations in order; `sets` those of the duplicate table, where there is one."""
        self._taxonomy = taxonomy
        self._sets = sets
        self._thresholds = np.stack([fit.of_labels(taxonomy.classes) for fit in fits])
        self._top_k = top_k

    def predict(self, probabilities: Tensor, rows: Rows) -> list[Prediction]:
        """The predictions of some rows of float32 [combinations * n, labels], those of a combination together."""
        n = len(probabilities) // len(self._thresholds)
        given = probabilities[torch.from_numpy(rows).to(probabilities.device)].cpu().numpy()
        return predict_labels(given, self._thresholds[rows // max(1, n)], self._taxonomy, self._top_k)

    def certain(self, row: int) -> Prediction:
        """The prediction of a product that duplicates decided: exactly the labels of one set."""
        given = self.decided(row)[None]
        return predict_labels(given, np.full_like(given, SURE), self._taxonomy, self._top_k)[0]

    def decided(self, row: int) -> npt.NDArray[np.float32]:
        """As `Summariser.decided`: 1 for each label of the set."""
        assert self._sets is not None  # who decides has a table
        return np.asarray(self._sets.dense(np.array([row]))[0])
