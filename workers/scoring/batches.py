"""Pictures of one chunk, gathered into batches of one fixed shape and summed up per product."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.product_images import ImageRange
from workers.scoring.accumulate import DeviceMeans
from workers.scoring.buffers import InputBuffers
from workers.scoring.chunks import Plan
from workers.scoring.groups import Decoded
from workers.scoring.joint import JointNetworks, JointRows
from workers.vision.joint import ranks
from workers.vision.sums import add_in_order

_TOGETHER = 128
"""Products that are finished together where batches are smaller: doing it costs per block as much as per product."""

Forward = Callable[[InputBuffers, Sequence[bool] | None], Tensor]
"""Full buffers, and of each member whether it is needed (None: all are) -> outputs [members, views, batch_images,
classes] of `DeviceMeans.enter`, anything for a member that is not needed."""

Rows = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """Products whose images are all summed: rows 0 up to len(products) of [combinations, rows, classes]."""

    products: Rows  # rows of the chunk's index
    network_images: Rows  # how many of each product's images went through the network
    answer_images: Rows  # those or overridden
    reasons: Mapping[int, str]  # product -> why its first image that could not be decoded could not
    network: Tensor  # float32, without any duplicates
    network_sound: Tensor  # bool [combinations, rows]
    answer: Tensor  # float32, overridden images replaced
    answer_sound: Tensor


class _Sums:
    """Sums and counts of images per product, one row each."""

    def __init__(self, means: DeviceMeans, rows: int, classes: int) -> None:
        self._means = means
        self.sums = torch.zeros((means.keys, rows, classes), dtype=means.dtype, device=means.device)
        self.counts = np.zeros(rows, np.int64)

    def add(self, terms: Tensor, rows: Rows, source: Rows) -> None:
        """Add `terms[:, source[i]]` to row `rows[i]`, both ascending."""
        add_in_order(self.sums, terms, rows, source)
        self.counts += np.bincount(rows, minlength=len(self.counts))

    def averages(self, products: int, applies: Tensor | None, joint: Tensor | None) -> tuple[Tensor, Tensor]:
        """`DeviceMeans.of_products` of the first rows."""
        counts = torch.from_numpy(self.counts[:products]).to(self._means.device)
        return self._means.of_products(self.sums[:, :products], counts, applies, joint)

    def restart(self, carried: int, rows: int) -> None:
        """All rows zero, but for so many first ones, which go on from row `carried`."""
        some = slice(carried, carried + rows)
        sums, counts = self.sums[:, some].clone(), self.counts[some].copy()
        self.sums.zero_()
        self.counts[:] = 0
        self.sums[:, :rows], self.counts[:rows] = sums, counts


class Batches:
    """Takes a chunk's pictures in order; `on_finished` gets the products whose last image went through, in blocks.

    A picture's place in the plan gives its row of a batch; the row of one that could not be decoded stays empty. A
    product may have any number of images: its sums are carried from one batch to the next.
    """

    def __init__(
        self,
        plan: Plan,
        means: DeviceMeans,
        buffers: InputBuffers,
        forward: Forward,
        classes: int,
        on_finished: Callable[[Finished], None],
        ranges: Sequence[ImageRange] = (),
        joint: JointNetworks | None = None,
    ) -> None:
        """`ranges`: which products each member sees, joint ones last; empty: all members see all."""
        self._means = means
        self._buffers = buffers
        self._forward = forward
        self._classes = classes
        self._on_finished = on_finished
        self._overrides = plan.decisions.overrides
        self._images = np.array(plan.pictures, np.int64)
        images = np.diff(plan.chunk.index.first_image)[plan.network]
        self._products = np.array(plan.network, np.int64)[images > 0]
        self._last = np.cumsum(images[images > 0])  # places after each product's last picture
        self._applies = np.stack([one.holds(images[images > 0]) for one in ranges]) if ranges else None
        # joint networks are asked for whole batches of products, so some may have to wait for others
        self._rows = max(buffers.batch_images * (2 if joint else 1), _TOGETHER) + 1
        self._joint = JointRows(joint, self._rows) if joint else None
        self._joint_from, self._members = (joint.first, joint.first + len(joint.running)) if joint else (0, 0)
        self._network = _Sums(means, self._rows, classes)
        overridden = bool(self._overrides.known.any())  # else the answer is the network's, and summed once
        self._answer = _Sums(means, self._rows, classes) if overridden else self._network
        self._reasons: dict[int, str] = {}
        self._batch = self._taken = 0  # place of the batch's first picture; pictures taken
        self._finished = 0  # products handed on
        self._decoded = np.zeros(len(self._images), np.bool_)

    @property
    def scored(self) -> int:
        """Pictures that went through the network."""
        return int(np.count_nonzero(self._decoded[: self._batch]))

    def take(self, decoded: Decoded) -> None:
        """The pictures that follow, and the reasons why some are none."""
        for place, reason in decoded.reasons.items():
            product = int(self._products[np.searchsorted(self._last, place, side="right")])
            self._reasons.setdefault(product, reason)
        # after a shape was halved, pictures were still decoded into batches of the one before
        memory = decoded.batch
        if memory is not None and len(memory) != self._buffers.batch_images:
            memory = None
        shape = memory.shape[1:] if memory is not None and decoded.lies_there else None
        while self._taken < decoded.stop:
            if self._taken == self._batch:
                self._buffers.begin(memory)
            start, full = self._taken, self._batch + self._buffers.batch_images
            self._taken = min(decoded.stop, full)
            for places, pixels in decoded.blocks:
                first, stop = np.searchsorted(places, (start, self._taken)).tolist()
                if first < stop:
                    rows, some = places[first:stop] - self._batch, pixels[first:stop]
                    self._buffers.put(rows, some, lies_there=some.shape[1:] == shape)
                    self._decoded[places[first:stop]] = True
            if self._taken == full:
                self._flush()

    def close(self) -> None:
        """Finish what is left."""
        if self._batch < self._taken:
            self._flush()
        if self._finished < len(self._products):
            self._finish(len(self._products))

    @torch.inference_mode()
    def _flush(self) -> None:
        places = np.arange(self._batch, self._taken)
        rows = np.searchsorted(self._last, places, side="right") - self._finished
        decoded, images = self._decoded[places], self._images[places]
        if decoded.any():
            self._buffers.fill_up(decoded)
            if self._joint is not None:
                self._add_to_joint(self._joint, rows[decoded], np.flatnonzero(decoded))
            terms = self._terms(rows, decoded)
            self._network.add(terms, rows[decoded], np.flatnonzero(decoded))
        else:
            terms = torch.zeros_like(self._network.sums[:, : self._buffers.batch_images])
        if self._answer is not self._network:
            known = self._overrides.known[images]
            source = np.where(known, self._buffers.batch_images + np.cumsum(known) - 1, places - self._batch)
            if known.any():
                overrides = self._means.of_overrides(self._distributions(images[known]))
                terms = torch.cat([terms, overrides.expand(self._means.keys, -1, -1)], dim=1)
            there = known | decoded
            self._answer.add(terms, rows[there], source[there])
        self._batch = self._taken
        if rows[-1] + self._buffers.batch_images >= self._rows - 1:  # the next batch may need more rows than are left
            done = int(np.searchsorted(self._last, self._taken, side="right")) - self._finished
            if self._joint is not None:
                done -= done % self._buffers.batch_images
            self._finish(self._finished + done)

    @torch.inference_mode()
    def _finish(self, stop: int) -> None:
        """Hand on the products before `stop`; what is summed of the next one stays."""
        products = self._products[self._finished : stop]
        if count := len(products):
            applying = self._applying(stop)
            applies = None if applying is None else self._on_device(applying)
            joint = None if self._joint is None else self._joint.outputs(count)
            network = answer = self._network.averages(count, applies, joint)
            if self._answer is not self._network:
                answer = self._answer.averages(count, applies, joint)
            counts = self._network.counts[:count].copy(), self._answer.counts[:count].copy()
            self._on_finished(Finished(products, *counts, self._reasons, *network, *answer))
            begun = int(np.searchsorted(self._last, self._taken, side="left")) + 1 - stop
            for held in {self._network, self._answer}:
                held.restart(count, begun)
            if self._joint is not None:
                self._joint.keep(count, begun)
            self._finished = stop

    def _terms(self, rows: Rows, decoded: Bool) -> Tensor:
        """What the batch's pictures, of the products in these rows, add up to: see `DeviceMeans.of_images`."""
        if self._applies is None:
            return self._means.of_images(self._forward(self._buffers, None))
        applies = np.ones((len(self._applies), self._buffers.batch_images), np.bool_)
        applies[:, : len(rows)] = self._applies[:, rows + self._finished]
        needed = [bool(row.any()) for row in applies[:, : len(rows)][:, decoded]]
        return self._means.of_images(self._forward(self._buffers, needed), self._on_device(applies))

    def _add_to_joint(self, joint: JointRows, rows: Rows, source: Rows) -> None:
        """Pictures in these rows of the buffers are of the products in `rows`: the next ones that can be decoded."""
        joint.add(self._buffers, source, rows, self._network.counts[rows] + ranks(rows))

    def _applying(self, stop: int) -> Bool | None:
        """Which members answer for the products before `stop`: joint ones where some image could be decoded."""
        applies = None if self._applies is None else self._applies[:, self._finished : stop]
        if self._joint is not None:
            count = stop - self._finished
            applies = np.ones((self._members, count), np.bool_) if applies is None else applies.copy()
            applies[self._joint_from :] &= self._network.counts[:count] > 0
        return applies

    def _on_device(self, flags: Bool) -> Tensor:
        return torch.from_numpy(flags).to(self._means.device)

    def _distributions(self, images: Rows) -> Tensor:
        """Of overridden images: [n, classes]."""
        given = self._overrides
        dense = np.repeat(given.base[images][:, None], self._classes, axis=1)
        for row, image in enumerate(images):
            entries = slice(given.start[image], given.start[image + 1])
            dense[row, given.class_index[entries]] = given.value[entries]
        return torch.from_numpy(dense).to(self._means.device)
