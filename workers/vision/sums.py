"""Sums of many terms per row that do not depend on timing, on any device."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.int64]


def passes(rows: Rows, source: Rows, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of `rows` and `source`, `rows` ascending: a pass per place within a row, so that none comes twice."""
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")
    for place in range(int(rank.max(initial=-1)) + 1):
        now = rank == place
        yield torch.from_numpy(rows[now]).to(device), torch.from_numpy(source[now]).to(device)


def add_in_order(sums: Tensor, terms: Tensor, rows: Rows, source: Rows) -> None:
    """Add `terms[:, source[i]]` to `sums[:, rows[i]]` for ascending i, on every device in this very order.

    `rows` ascend.
    """
    for target, taken in passes(rows, source, sums.device):
        sums.index_add_(1, target, terms.index_select(1, taken))


def raise_to(highest: Tensor, terms: Tensor, rows: Rows, source: Rows) -> None:
    """As `add_in_order`, but `highest[:, rows[i]]` becomes the larger of itself and `terms[:, source[i]]`."""
    for target, taken in passes(rows, source, highest.device):
        highest[:, target] = torch.maximum(highest[:, target], terms.index_select(1, taken))
