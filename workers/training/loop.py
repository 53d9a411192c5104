"""The training loop of one member on one device. One process now; a step's batch is global, so ranks can share it."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, NAdam, Optimizer

from shared.domain import schedules
from shared.domain.digests import seed_of
from shared.domain.ensemble import Member
from shared.domain.errors import FailedError
from shared.ports import Clock
from workers.training.augment import EpochAugmentation
from workers.training.checkpoints import Checkpoints, Counters
from workers.training.dataset import Images, epoch_order
from workers.training.journal import Journal
from workers.training.pictures import PictureBatch, PictureSource
from workers.vision import preprocessing

LOG_STEPS = 50
_RATE_SECONDS = 10.0  # the rate shown is of about this long


class PreemptedError(Exception):
    """The process was asked to go: what it had is in a checkpoint."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a network computes, and in what: `precision` is float32 or bf16."""

    device: torch.device
    precision: str

    def forward(self, module: nn.Module, batch: Tensor) -> Tensor:
        """Logits float32 [n, classes] of normalised pictures."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = module(batch)
        return logits.float()


def optimizer_of(member: Member, module: nn.Module) -> Optimizer:
    """The member's optimizer; its rate is set at every step."""
    rate = schedules.rate(member.schedule, 0, steps_per_epoch=1, epochs=member.epochs)
    if member.optimizer == "adamw":
        return AdamW(module.parameters(), lr=rate, weight_decay=member.weight_decay)
    return NAdam(module.parameters(), lr=rate, weight_decay=member.weight_decay)


class Trainer:
    """Trains `module` from a step to the end. Everything that depends on chance depends on (seed, step) alone."""

    def __init__(
        self,
        member: Member,
        images: Images,
        source: PictureSource,
        module: nn.Module,
        optimizer: Optimizer,
        device: Device,
        *,
        journal: Journal,
        checkpoints: Checkpoints,
        checkpoint_seconds: float,
        preempted: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """`member` is resolved. Batches that do not fill up are left out (other images in every epoch), unless there
        is only one."""
        self._member = member
        self._images = images
        self._source = source
        self._module = module
        self._optimizer = optimizer
        self._device = device
        self._journal = journal
        self._checkpoints = checkpoints
        self._checkpoint_seconds = checkpoint_seconds
        self._preempted = preempted
        self._clock = clock
        self._targets = torch.from_numpy(images.class_index)
        self.steps_per_epoch = max(1, len(images) // member.batch_size)
        self.steps = self.steps_per_epoch * member.epochs
        self._sums = torch.zeros(2, dtype=torch.float64, device=device.device)  # loss, correct answers: not yet counted
        self._recent: deque[tuple[float, int]] = deque()  # (time, images) of the last steps
        self._total_images = 0
        self._saved = self._resumed = clock()

    def run(self, counters: Counters) -> None:
        """Train from `counters.step` to the last step; `counters` is kept up to date.

        Raises PreemptedError after writing a checkpoint, and FailedError when the loss is no longer finite.
        """
        self._saved = self._resumed = self._clock()
        self._recent.append((self._resumed, 0))
        while counters.step < self.steps:
            self._epoch(counters.step // self.steps_per_epoch, counters)

    def _epoch(self, epoch: int, counters: Counters) -> None:
        """The rest of an epoch (from 0)."""
        seed, size = self._member.seed, self._member.batch_size
        order = epoch_order(self._images, seed, epoch)
        augmentation = EpochAugmentation(self._member.augment, self._images, seed, epoch)
        first = counters.step % self.steps_per_epoch
        batches = (order[i * size : (i + 1) * size] for i in range(first, self.steps_per_epoch))
        self._module.train()
        for batch in self._source.batches(batches):
            for row, reason in batch.undecodable.items():
                counters.undecodable[int(self._images.row[row])] = reason
            if len(batch.rows) > 1:  # batch norm cannot learn from one picture
                self._step(batch, augmentation, counters.step)
            counters.step += 1
            counters.seen += len(batch.rows)
            self._total_images += len(batch.rows)
            self._after_step(epoch, counters)

    def _step(self, batch: PictureBatch, augmentation: EpochAugmentation, step: int) -> None:
        member, device = self._member, self._device.device
        torch.manual_seed(int(seed_of(member.seed, "step", step)))
        rate = schedules.rate(member.schedule, step, steps_per_epoch=self.steps_per_epoch, epochs=member.epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        pictures = preprocessing.resize(batch.pictures, member.input, device)
        pictures = preprocessing.normalise(
            augmentation.apply(pictures, batch.rows), member.input.mean, member.input.std
        )
        targets = self._targets[torch.from_numpy(batch.rows)].to(device, non_blocking=True)
        logits = self._device.forward(self._module, pictures)
        loss = functional.cross_entropy(logits, targets, label_smoothing=member.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        with torch.no_grad():
            self._sums += torch.stack([loss.double() * len(targets), (logits.argmax(1) == targets).sum()])

    def _after_step(self, epoch: int, counters: Counters) -> None:
        epoch_ends = counters.step % self.steps_per_epoch == 0
        if epoch_ends or counters.step % LOG_STEPS == 0:
            self._log(epoch, counters, epoch_ends)
        if epoch_ends:
            counters.loss_sum, counters.correct, counters.seen = 0.0, 0, 0
            self._journal.flush()
        if epoch_ends or self._journal.due():
            self._report(counters)
        asked_to_go = self._preempted()
        due = self._clock() - self._saved >= self._checkpoint_seconds
        if due or asked_to_go or counters.step == self.steps:  # not at every epoch: any step is as good to go on from
            self._save(counters)
        if asked_to_go:
            raise PreemptedError

    def _log(self, epoch: int, counters: Counters, epoch_ends: bool) -> None:
        self._count(counters)
        seen = max(1, counters.seen)
        rate = schedules.rate(
            self._member.schedule,
            counters.step - 1,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self._member.epochs,
        )
        line = {
            "kind": "epoch" if epoch_ends else "step",
            "epoch": epoch + 1,
            "step": counters.step,
            "loss": counters.loss_sum / seen,
            "accuracy": counters.correct / seen,
            "rate": rate,
            "images_per_second": round(self._rate(), 1),
            "seconds": round(counters.seconds, 2),
        }
        self._journal.log(line)
        if epoch_ends:
            self._journal.say(
                f"epoch {epoch + 1}/{self._member.epochs}: loss {line['loss']:.4f}, accuracy {line['accuracy']:.4f}, "
                f"{line['images_per_second']} images/s"
            )

    def _report(self, counters: Counters) -> None:
        self._count(counters)
        rate = self._rate()
        left = (self.steps - counters.step) * min(self._member.batch_size, len(self._images))
        self._journal.progress(
            {
                "stage": "training",
                "step": counters.step,
                "steps": self.steps,
                "epoch": min(counters.step // self.steps_per_epoch + 1, self._member.epochs),
                "epochs": self._member.epochs,
                "images_per_second": rate,
                "seconds_left": left / rate if rate else None,
            }
        )

    def _rate(self) -> float:
        """Images per second lately."""
        now = self._clock()
        self._recent.append((now, self._total_images))
        while len(self._recent) > 2 and now - self._recent[0][0] > _RATE_SECONDS:
            self._recent.popleft()
        then, images = self._recent[0]
        return (self._total_images - images) / (now - then) if now > then else 0.0

    def _count(self, counters: Counters) -> None:
        loss, correct = self._sums.tolist()
        self._sums.zero_()
        counters.loss_sum += loss
        counters.correct += int(correct)
        now = self._clock()
        counters.seconds += now - self._resumed
        self._resumed = now
        if not math.isfinite(loss):
            raise FailedError(
                f"member {self._member.name}: the loss is no longer finite at step {counters.step}; lower the rate"
            )

    def _save(self, counters: Counters) -> None:
        self._count(counters)
        self._checkpoints.save(self._module, self._optimizer, counters)
        self._journal.flush()
        self._saved = self._clock()
