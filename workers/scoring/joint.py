"""The joint members of an ensemble, over the products of one chunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from shared.domain.ensemble import Input
from shared.domain.views import ViewSpec
from workers.scoring.accumulate import DeviceMeans, Rows
from workers.scoring.buffers import InputBuffers
from workers.vision.joint import Running, picture_input, product_rows


@dataclass(frozen=True, slots=True)
class JointNetworks:
    """Those that answer once for a product. `first` is the place of the first one among the members of the means."""

    running: Sequence[Running]
    views: Sequence[ViewSpec]
    means: DeviceMeans
    first: int

    @property
    def inputs(self) -> list[Input]:
        """How they take each image."""
        return [picture_input(one.given, one.joint) for one in self.running]

    def at(self, batch: int) -> "JointNetworks":
        """The same, run in this shape."""
        return replace(self, running=[replace(one, batch=batch) for one in self.running])

    def run_empty_batch(self, buffers: InputBuffers) -> None:
        """As if each picture were a product."""
        rows, held = np.arange(buffers.batch_images), JointRows(self, buffers.batch_images)
        held.add(buffers, rows, rows, np.zeros_like(rows))
        held.outputs(buffers.batch_images)


class JointRows:
    """What they know so far of some products, a row each; see `workers.vision.joint.ProductRows`."""

    def __init__(self, networks: JointNetworks, rows: int) -> None:
        self._networks = networks
        self._rows = [product_rows(one, networks.views, rows) for one in networks.running]

    def add(self, buffers: InputBuffers, source: Rows, rows: Rows, places: Rows) -> None:
        """The pictures in rows `source` of the buffers are images `places` of the products in `rows`."""
        for given, held in zip(self._networks.inputs, self._rows, strict=True):
            held.add(buffers.batch(given), source, rows, places)

    def outputs(self, products: int) -> Tensor:
        """Of the first rows: [members, views, products, classes] of `DeviceMeans.enter`."""
        means = self._networks.means
        return torch.stack(
            [
                torch.stack([means.enter(view, place) for view in held.logits(products)])
                for place, held in enumerate(self._rows, self._networks.first)
            ]
        )

    def keep(self, first: int, count: int) -> None:
        """As `ProductRows.keep`."""
        for held in self._rows:
            held.keep(first, count)
