"""Pictures of one chunk, gathered into batches of one fixed shape and summed up per product."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from shared.domain.duplicates import Overrides
from shared.domain.ensemble import Input
from workers.scoring.accumulate import DeviceMeans, add_in_order
from workers.scoring.ahead import Picture
from workers.scoring.buffers import InputBuffers

Forward = Callable[[dict[Input, Tensor]], Tensor]
"""Full batches per input -> outputs [members, views, batch_images, classes] of `DeviceMeans.enter`."""


@dataclass(slots=True)
class Gathered:
    """What became of one product's images: `network` through the network, `answer` those or overridden."""

    product: int  # row of the chunk's index
    network: int = 0
    answer: int = 0
    reason: str = ""  # of the first image that could not be decoded


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """Products whose images are all summed: rows 0 up to len(products) of [combinations, rows, classes]."""

    products: list[Gathered]
    network: Tensor  # float32, without any duplicates
    network_sound: Tensor  # bool [combinations, rows]
    answer: Tensor  # float32, overridden images replaced
    answer_sound: Tensor


@dataclass(slots=True)
class _Additions:
    """Which source row is added to which product's row; both in the order of images."""

    rows: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)

    def add_to(self, sums: Tensor, terms: Tensor) -> None:
        add_in_order(sums, terms, np.array(self.rows, np.int64), np.array(self.source, np.int64))


class Batches:
    """Takes a chunk's pictures in order of products; `on_finished` gets the products whose last image went through.

    A product may have any number of images: its sums are carried from one batch to the next.
    """

    def __init__(
        self,
        means: DeviceMeans,
        buffers: InputBuffers,
        forward: Forward,
        overrides: Overrides,
        shape: tuple[int, int],
        on_finished: Callable[[Finished], None],
    ) -> None:
        self._means = means
        self._buffers = buffers
        self._forward = forward
        self._overrides = overrides
        self._batch_images, self._classes = shape
        self._on_finished = on_finished
        self._overridden = bool(overrides.known.any())  # else the answer is the network's, and summed once
        self._network_sums = self._no_sums()
        self._answer_sums = self._no_sums() if self._overridden else self._network_sums
        self._current = Gathered(-1)
        self._clear()

    def begin(self, product: int) -> None:
        """The pictures that follow belong to this product."""
        self._current = Gathered(product)

    def take(self, picture: Picture) -> None:
        """One picture, or the reason why there is none."""
        known = bool(self._overrides.known[picture.image])
        if picture.pixels is None:
            self._current.reason = self._current.reason or picture.reason
            if not known:
                return
        if self._slots == self._batch_images or len(self._answer.rows) == 2 * self._batch_images:
            self._flush()
        row = len(self._done)
        self._answer.rows.append(row)
        self._answer.source.append(self._batch_images + len(self._known) if known else self._slots)
        self._current.answer += 1
        if known:
            self._known.append(picture.image)
        if picture.pixels is not None:
            self._network.rows.append(row)
            self._network.source.append(self._slots)
            self._buffers.add(picture.pixels)
            self._slots += 1
            self._current.network += 1

    def end(self) -> Gathered:
        """The product has no further pictures. One that is left with nothing to answer from is not finished later."""
        gathered = self._current
        if gathered.answer:
            self._done.append(gathered)
            if len(self._done) == self._batch_images:
                self._flush()
        return gathered

    def close(self) -> None:
        """Finish what is left."""
        if self._done:
            self._flush()

    def _clear(self) -> None:
        self._slots = 0
        self._known: list[int] = []
        self._network, self._answer = _Additions(), _Additions()
        self._done: list[Gathered] = []

    def _no_sums(self) -> Tensor:
        shape = (self._means.keys, self._batch_images + 1, self._classes)
        return torch.zeros(shape, dtype=self._means.dtype, device=self._means.device)

    @torch.inference_mode()
    def _flush(self) -> None:
        terms = torch.zeros_like(self._network_sums[:, :-1])
        if self._slots:
            terms = self._means.of_images(self._forward(self._buffers.full()))
            self._network.add_to(self._network_sums, terms)
        if self._known:
            overrides = self._means.of_overrides(self._distributions()).expand(self._means.keys, -1, -1)
            terms = torch.cat([terms, overrides], dim=1)
        if self._overridden:
            self._answer.add_to(self._answer_sums, terms)
        if self._done:
            network = answer = self._average(self._network_sums, [g.network for g in self._done])
            if self._overridden:
                answer = self._average(self._answer_sums, [g.answer for g in self._done])
            self._on_finished(Finished(self._done, *network, *answer))
        self._network_sums = self._carried(self._network_sums)
        self._answer_sums = self._carried(self._answer_sums) if self._overridden else self._network_sums
        self._clear()

    def _average(self, sums: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
        padded = torch.zeros(sums.shape[1], device=sums.device)
        padded[: len(counts)] = torch.tensor(counts, device=sums.device)
        return self._means.of_products(sums, padded)

    def _carried(self, sums: Tensor) -> Tensor:
        """New sums that start with those of the product whose images are not through yet."""
        fresh = self._no_sums()
        fresh[:, 0] = sums[:, len(self._done)]
        return fresh

    def _distributions(self) -> Tensor:
        """Of the overridden images of this batch: [n, classes]."""
        given = self._overrides
        dense = np.repeat(given.base[self._known][:, None], self._classes, axis=1)
        for row, image in enumerate(self._known):
            entries = slice(given.start[image], given.start[image + 1])
            dense[row, given.class_index[entries]] = given.value[entries]
        return torch.from_numpy(dense).to(self._means.device)
