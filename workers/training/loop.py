"""The training loop of one member, on one device or, where ranks share each step's batch, on one device a rank."""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from torch import nn

from shared.domain.ensemble import Member
from shared.domain.errors import FailedError
from shared.ports import Clock
from workers.training.augment import EpochAugmentation
from workers.training.checkpoints import Checkpoints, Counters
from workers.training.dataset import Float64, Images, Int64, drawn_order, epoch_order
from workers.training.filling import UnitSource
from workers.training.journal import Journal
from workers.training.learner import Learner
from workers.training.pace import Pace
from workers.training.pictures import Noted, Source
from workers.training.preemption import PreemptedError
from workers.training.ranks import Ranks
from workers.training.rates import Rates
from workers.training.stopping import EarlyStopping
from workers.training.units import Units
from workers.training.watch import Watch

LOG_STEPS = 50


class Trainer:
    """Trains a network from a step to the end. Everything that depends on chance depends on (seed, step) alone."""

    def __init__(
        self,
        member: Member,
        images: Images,
        source: Source,
        learner: Learner,
        watch: Watch,
        *,
        journal: Journal,
        checkpoints: Checkpoints,
        checkpoint_seconds: float,
        preempted: Callable[[], bool],
        clock: Clock,
        ranks: Ranks,
        draw: Float64 | None = None,
    ) -> None:
        """`member` is resolved; rows of `source` are those of `images`. Batches that do not fill up are left out (other
        images in every epoch), unless there is only one. `draw`: how often to draw each image, else each comes once. A
        joint member learns from products: a batch, an epoch and its figures are of those."""
        self._member = member
        self._images = images
        self._units = Units(images, member.joint)
        self._source = UnitSource(source, self._units)
        self._learner = learner
        self._watch = watch
        self._journal = journal
        self._checkpoints = checkpoints
        self._checkpoint_seconds = checkpoint_seconds
        self._preempted = preempted
        self._clock = clock
        self._ranks = ranks
        self._draw = draw
        self.steps_per_epoch = max(1, len(self._units) // member.batch_size)
        self._rates = Rates(member.schedule, steps_per_epoch=self.steps_per_epoch, epochs=member.epochs)
        self._stopping = EarlyStopping(member.early_stopping)
        self._pace = Pace(clock)
        self._saved = self._counted = clock()

    def run(self) -> Counters:
        """Train to the end, from the newest checkpoint on, and what it came to.

        Raises PreemptedError after writing a checkpoint, and FailedError when the loss is no longer finite.
        """
        counters = self._restored()
        self._saved = self._counted = self._clock()
        while counters.epochs < self._member.epochs and not counters.stopped:
            self._rest_of_epoch(counters)
            self._end_epoch(counters)
        return counters

    def kept(self) -> nn.Module:
        """The network as it is to be kept, once `run` is through: of the best epoch with early stopping, else the last
        one's."""
        if self._stopping.weights:
            self._learner.network.load_state_dict(self._stopping.weights)
        return self._learner.network

    def _restored(self) -> Counters:
        found = self._ranks.of_first(lambda: self._checkpoints.restore(self.steps_per_epoch))
        counters = Counters()
        if found is not None:
            counters, tensors = found
            self._learner.restore(tensors)
            self._rates.restore(counters.rates)
            self._stopping.weights = tensors.get("best", {})
            self._journal.say(f"going on from step {counters.step}")
        self._journal.go_on(counters.step, counters.epochs)
        return counters

    def _rest_of_epoch(self, counters: Counters) -> None:
        epoch, size = counters.epochs, self._member.batch_size
        order = epoch_order(self._units.heads, self._member.seed, epoch)
        if self._draw is not None:
            order = drawn_order(self._units.heads, self._member.seed, epoch, self._draw[self._units.first])
        augmentation = self._augmentation(epoch)
        first = counters.step - epoch * self.steps_per_epoch
        batches = [order[i * size : (i + 1) * size] for i in range(first, self.steps_per_epoch)]
        pictures = self._source.batches(part for units in batches for part in self._parts(units))
        for units in batches:
            parts = Noted(islice(pictures, len(self._parts(units))), self._units.count)
            rate = self._rates.of(counters.step)
            self._learner.learn(parts, len(units), augmentation, step=counters.step, rate=rate)
            self._count_in(parts, counters)
            counters.step += 1
            if counters.step % self.steps_per_epoch:
                self._between_steps(counters)

    def _augmentation(self, epoch: int) -> EpochAugmentation:
        member = self._member
        augment = member.augment if epoch < member.epochs - member.plain_epochs else ()
        return EpochAugmentation(augment, self._images, member.seed, epoch, fill=member.input.pad_colour)

    def _parts(self, units: Int64) -> Sequence[Int64]:
        """What of a batch is decoded and goes through the network at a time, here."""
        size = self._member.batch_size // (self._member.accumulate * self._ranks.count)
        return self._ranks.share([units[start : start + size] for start in range(0, len(units), size)])

    def _count_in(self, parts: Noted, counters: Counters) -> None:
        for units, seen, undecodable in self._ranks.gathered((parts.units, parts.seen, parts.undecodable)):
            for row, reason in undecodable.items():
                counters.undecodable[int(self._images.row[row])] = reason
            counters.seen += units
            self._pace.add(seen)

    def _between_steps(self, counters: Counters) -> None:
        if self._ranks.first:
            if counters.step % LOG_STEPS == 0:
                self._count(counters)
                self._journal.log(self._line("step", counters))
            if self._journal.due():
                self._report(counters)
        self._save_if_due(counters)

    def _end_epoch(self, counters: Counters) -> None:
        """What follows an epoch's last step. Only then a checkpoint says that the epoch is finished, so that the watch
        part is judged once whenever the process ends."""
        self._count(counters)
        line = self._line("epoch", counters)
        nearly = None if counters.among_top is None else counters.among_top / max(1, counters.seen)
        line[self._learner.objective.nearly] = nearly
        line["watch"] = watched = self._watched(counters)
        loss = watched["loss"] if watched else None
        counters.epochs += 1
        self._rates.judge(counters.epochs, loss)
        counters.rates = self._rates.state()
        stop = self._stopping.judge(loss, self._learner.network, counters)
        counters.stopped = stop and counters.epochs < self._member.epochs
        counters.loss_sum, counters.correct, counters.among_top, counters.seen = 0.0, 0, 0, 0
        if self._ranks.first:
            self._tell(line, counters)
        self._save_if_due(counters, last=counters.stopped or counters.epochs == self._member.epochs)

    def _tell(self, line: dict[str, Any], counters: Counters) -> None:
        self._journal.log(line)
        self._journal.say(self._words(line))
        if counters.stopped:
            self._say_stopped(counters)
        self._journal.flush()
        self._report(counters)

    def _watched(self, counters: Counters) -> dict[str, Any] | None:
        try:
            with self._pace.aside():
                return self._ranks.of_first(lambda: self._watch.judge(self._learner.network))
        except PreemptedError:
            self._save(counters)
            raise

    def _line(self, kind: str, counters: Counters) -> dict[str, Any]:
        seen = max(1, counters.seen)
        return {
            "kind": kind,
            "epoch": counters.epochs + 1,
            "step": counters.step,
            "loss": counters.loss_sum / seen,
            "accuracy": counters.correct / seen,
            "rate": self._rates.of(counters.step - 1),
            "images_per_second": round(self._pace.rate(), 1),
            "seconds": round(counters.seconds, 2),
        }

    def _words(self, line: dict[str, Any]) -> str:
        words = f"epoch {line['epoch']}/{self._member.epochs}: loss {line['loss']:.4f}, "
        words += f"accuracy {line['accuracy']:.4f}, {line['images_per_second']} images/s"
        if watched := line["watch"]:
            name, share = "accuracy per product", watched.get("product_top1")
            if share is None:
                name, share = "micro F1", watched["micro_f1"]
            words += f"; watched: loss {watched['loss']:.4f}, {name} {share:.4f}"
            words += f" (n={watched['products']})"
        return words

    def _say_stopped(self, counters: Counters) -> None:
        best = {"best_epoch": counters.best_epoch, "best_loss": counters.best_loss}
        position = {"epoch": counters.epochs, "step": counters.step, "seconds": round(counters.seconds, 2)}
        self._journal.log({"kind": "stopped", **position, **best})
        self._journal.say(
            f"stopped after epoch {counters.epochs}: no better watched loss for {self._member.early_stopping} epochs; "
            + (f"the weights of epoch {counters.best_epoch} are kept" if counters.best_epoch else "it was never finite")
        )

    def _report(self, counters: Counters) -> None:
        self._count(counters)
        rate = self._pace.rate()
        epochs = counters.epochs if counters.stopped else self._member.epochs
        steps = epochs * self.steps_per_epoch
        share = min(self._member.batch_size, len(self._units)) / len(self._units)  # of an epoch, in a step
        left = (steps - counters.step) * share * len(self._images)
        self._journal.progress(
            {
                "stage": "training",
                "step": counters.step,
                "steps": steps,
                "epoch": min(counters.epochs + 1, epochs),
                "epochs": epochs,
                "images_per_second": rate,
                "seconds_left": left / rate if rate else None,
            }
        )

    def _count(self, counters: Counters) -> None:
        loss, right, among = self._learner.take_sums()
        counters.loss_sum += loss
        counters.correct += right
        if counters.among_top is not None:
            counters.among_top += among
        now = self._clock()
        counters.seconds += now - self._counted
        self._counted = now
        if not math.isfinite(loss):
            raise FailedError(
                f"member {self._member.name}: the loss is no longer finite at step {counters.step}; lower the rate"
            )

    def _save_if_due(self, counters: Counters, *, last: bool = False) -> None:
        """Not at every epoch: any step is as good to go on from. Who is asked to go takes all ranks along."""
        asked_to_go = any(self._ranks.gathered(self._preempted()))
        if last or asked_to_go or self._clock() - self._saved >= self._checkpoint_seconds:
            self._save(counters)
        if asked_to_go:
            raise PreemptedError

    def _save(self, counters: Counters) -> None:
        if not self._ranks.first:
            return
        self._count(counters)
        self._journal.flush()  # before the checkpoint: lines beyond it are left out again, missing ones never come back
        best = {"best": self._stopping.weights} if self._stopping.weights else {}
        self._checkpoints.save(counters, {**self._learner.tensors(), **best})
        self._saved = self._clock()
