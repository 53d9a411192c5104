"""How a network does on the watch part: 5 % of the training part, taken out of it, never the holdout (I10)."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shared.domain import views
from shared.domain.ensemble import Member
from shared.domain.product_images import EACH_IMAGE
from workers.training import features
from workers.training.answering import running, whole_products
from workers.training.dataset import Images
from workers.training.device import Device
from workers.training.objectives import Objective, OneCategory
from workers.training.pictures import PictureBatch, Source
from workers.training.preemption import PreemptedError
from workers.training.sheets import of_products
from workers.vision.forward import logits
from workers.vision.joint import grouped, joint_logits, ranks
from workers.vision.preprocessing import resize

_BATCH_IMAGES = 128
_PLAIN = views.parse("plain")

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class Watch:
    """Judges a network on all watched images, without augmentation, as it is trained: in the run's own precision."""

    def __init__(
        self,
        member: Member,
        images: Images,
        source: Source,
        device: Device,
        *,
        first: int,
        preempted: Callable[[], bool],
        objective: Objective | None = None,
    ) -> None:
        """`source` reads other images too: those of `images` are its rows `first` onwards. `member` is resolved.

        `objective` None: one category.
        """
        self._member = member
        self._images = images
        self._source = source
        self._device = device
        self._first = first
        self._preempted = preempted
        self._objective = objective or OneCategory(0.0)

    def judge(self, module: nn.Module) -> dict[str, Any] | None:
        """Figures of the images that can be decoded; None where there is none or the mean loss is not finite.

        `images`, `products`, `loss` (mean cross-entropy per image, of label sets per image and label; not smoothed),
        and what `watch` of the objective's sheet says (a product's images are averaged). Leaves `module` in eval mode.
        Raises PreemptedError between two batches.
        """
        module.eval()
        tally = Tally(self._objective)
        for batch in self._source.batches(self._batches()):
            if self._preempted():
                raise PreemptedError
            rows = batch.rows - self._first
            if len(rows):
                truth = self._images.class_index[rows]
                tally.add(*self._forward(module, batch, truth), truth, self._images.product_id[rows])
        return tally.figures()

    def _batches(self) -> Iterator[Int64]:
        """Rows of whole products, which lie together in dump order."""
        for some in whole_products(self._images.product_id, _BATCH_IMAGES):
            yield np.arange(some.start, some.stop) + self._first

    @torch.inference_mode()
    def _forward(self, module: nn.Module, batch: PictureBatch, truth: Int64) -> tuple[Float32, Float32]:
        """Probabilities float32 [n, classes] and losses float32 [n]."""
        given, where = self._member.input, self._device
        probabilities, losses = [], []
        if self._member.joint != EACH_IMAGE:
            return self._of_products(module, batch, truth)
        for start in range(0, len(batch.pictures), _BATCH_IMAGES):
            some = np.arange(start, min(start + _BATCH_IMAGES, len(batch.pictures)))
            part = batch.take(some)
            if self._member.features == "stored":
                found: Tensor = features.answers(module, part, where)
            else:
                pictures = resize(part.pictures, given, where.device)
                found = logits(module, pictures, _PLAIN, given, where.precision)
            targets = torch.from_numpy(truth[some]).to(where.device)
            losses.append(self._objective.losses(found, targets).cpu().numpy())
            probabilities.append(self._objective.probabilities(found).cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(losses)

    def _of_products(self, module: nn.Module, batch: PictureBatch, truth: Int64) -> tuple[Float32, Float32]:
        """The same of a joint member: of each image what is said of its product."""
        first, product = grouped(self._images.product_id[batch.rows - self._first])
        if self._member.features == "stored":
            some = ranks(product) < self._member.joint.most
            found = features.answers(module, batch.take(np.flatnonzero(some)), self._device, product[some])
        else:
            of = running(self._member, module, self._device, _BATCH_IMAGES)
            (found,) = joint_logits(of, batch.pictures, product, [_PLAIN])
        losses = self._objective.losses(found, torch.from_numpy(truth[first]).to(self._device.device))
        return self._objective.probabilities(found).cpu().numpy()[product], losses.cpu().numpy()[product]


class Tally:
    """Counts the answers to many images."""

    def __init__(self, objective: Objective) -> None:
        self._loss = 0.0
        self._images, self._products = objective.sheet(), objective.sheet()

    def add(self, probabilities: Float32, losses: Float32, truth: Int64, product_id: Int64) -> None:
        """Count images of whole products, those of a product together: [n, classes], [n], [n], [n]."""
        self._loss += float(losses.sum(dtype=np.float64))
        self._images.add(probabilities, truth)
        means, first = of_products(probabilities, product_id)
        self._products.add(means, truth[first])

    def figures(self) -> dict[str, Any] | None:
        """As `Watch.judge` says."""
        images = len(self._images.right)
        if not images or not math.isfinite(self._loss):
            return None
        return {
            "images": images,
            "products": len(self._products.right),
            "loss": self._loss / images,
            **self._products.watch(self._images),
        }
