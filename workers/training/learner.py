"""One step of a training: a batch through the network, in parts, and the change of the weights that follows."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from shared.domain.digests import seed_of
from shared.domain.ensemble import Member
from shared.domain.product_images import EACH_IMAGE
from workers.training import features, optimizers
from workers.training.augment import EpochAugmentation
from workers.training.averaging import average_of
from workers.training.dataset import Int64
from workers.training.device import Device
from workers.training.objectives import Objective, OneCategory
from workers.training.pictures import PictureBatch
from workers.training.ranks import ALONE, Ranks
from workers.vision import preprocessing
from workers.vision.heads import train_mode
from workers.vision.joint import grouped, picture_input, tiled


class Learner:
    """A network with its optimizer and, with `ema`, its averaged weights: the same on every rank."""

    def __init__(
        self,
        member: Member,
        module: nn.Module,
        device: Device,
        class_index: Int64,
        ranks: Ranks = ALONE,
        objective: Objective | None = None,
        product_id: Int64 | None = None,
    ) -> None:
        """`member` is resolved, `module` on the device; `class_index` int64[k] are the classes of the images.

        `objective` None: one category. A joint member needs `product_id` int64[k] of the images.
        """
        self._member = member
        self._module = module
        self._device = device
        self.objective = objective or OneCategory(member.label_smoothing)
        self._targets = torch.from_numpy(class_index)
        self._product_id = product_id if member.joint != EACH_IMAGE else None
        self._optimizer = optimizers.optimizer_of(member, module)
        self._average = average_of(member, module)
        self._ranks = ranks
        self._sums = torch.zeros(3, dtype=torch.float64, device=device.device)

    @property
    def network(self) -> nn.Module:
        """The network that is watched, scored and kept: of the averaged weights where there are any."""
        return self._module if self._average is None else self._average.module

    def learn(
        self, parts: Iterable[PictureBatch], units: int, augmentation: EpochAugmentation, *, step: int, rate: float
    ) -> None:
        """One step (from 0) on a batch of `units`, images or products, some of which could perhaps not be decoded;
        `parts` are this rank's of them.

        The gradient is that of the mean loss over the whole batch, however many parts it comes in; only one part is
        on the device at a time. Batch norm sees a part at a time: its statistics are those of parts. What depends on
        chance depends on (seed, step) alone, and on the rank, whose dropout is another one.
        """
        rank = self._ranks.rank
        torch.manual_seed(int(seed_of(self._member.seed, "step", step, *([rank] if rank else []))))
        optimizers.set_rate(self._optimizer, rate)
        if not self._module.training:  # it walks through all layers, so not at every step
            train_mode(self._module)
        self._optimizer.zero_grad(set_to_none=True)
        own, sums = 0, torch.zeros_like(self._sums)
        for part in parts:
            first, product = self._grouped(part.rows)
            if len(first) > 1:  # batch norm cannot learn from one picture
                own += len(first)
                sums += self._backward(part, first, product, augmentation, units)
        learnt = sum(self._ranks.gathered(own))
        if not learnt:
            return
        self._add_up(sums)
        if not self._whole and learnt < units:
            self._scale_gradients(units / learnt)
        if self._member.clip_norm:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._member.clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._module, step=step + 1)

    def take_sums(self) -> tuple[float, int, int]:
        """Since the last call: sum of the losses, right answers, nearly right ones (see `Objective`)."""
        loss, right, among = self._sums.tolist()
        self._sums.zero_()
        return loss, int(right), int(among)

    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """Everything that `restore` takes."""
        found: dict[str, Mapping[str, Tensor]] = {
            "model": self._module.state_dict(),
            "optimizer": optimizers.tensors_of(self._optimizer),
        }
        return found if self._average is None else found | {"average": self._average.module.state_dict()}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on as from `tensors`."""
        self._module.load_state_dict(tensors["model"])
        optimizers.load_tensors(self._optimizer, tensors["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(tensors["average"])

    @property
    def _whole(self) -> bool:
        """Whether a batch is one part."""
        return self._member.accumulate * self._ranks.count == 1

    def _grouped(self, rows: Int64) -> tuple[Int64, Int64 | None]:
        """Which of these images are the first ones of their units, and of a joint member the product of each."""
        return (np.arange(len(rows)), None) if self._product_id is None else grouped(self._product_id[rows], rows)

    def _backward(
        self, part: PictureBatch, first: Int64, product: Int64 | None, augmentation: EpochAugmentation, units: int
    ) -> Tensor:
        """What `take_sums` sums up, of a part."""
        device = self._device.device
        targets = self._targets[torch.from_numpy(part.rows[first])].to(device, non_blocking=True)
        logits = self._logits(part, product, augmentation)
        loss = self.objective.loss(logits, targets)
        torch.autograd.backward(loss if self._whole else loss * (len(targets) / units))
        with torch.no_grad():
            return torch.stack([loss.double() * len(targets), *self.objective.counts(logits, targets)])

    def _logits(self, part: PictureBatch, product: Int64 | None, augmentation: EpochAugmentation) -> Tensor:
        member = self._member
        if member.features == "stored":
            return features.answers(self._module, part, self._device, product)
        pictures = preprocessing.resize(part.pictures, picture_input(member.input, member.joint), self._device.device)
        pictures = augmentation.apply(pictures, part.rows)
        if product is not None and member.joint.kind == "tiled":
            pictures, product = tiled(pictures, product, member.input, member.joint), None
        pictures = preprocessing.normalise(pictures, member.input.mean, member.input.std)
        return self._device.forward(self._module, pictures, product)

    def _add_up(self, sums: Tensor) -> None:
        """Gradients and `sums` over all ranks. Not torch's DistributedDataParallel: it waits for a gradient of every
        rank in every part, and the pictures of a rank may all be undecodable."""
        if self._ranks.count > 1:
            learning = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
            for parameter in learning:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._ranks.add([parameter.grad for parameter in learning if parameter.grad is not None])
            self._ranks.add([sums])
        self._sums += sums

    def _scale_gradients(self, factor: float) -> None:
        for parameter in self._module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
