"""The ensemble's means on the device: `shared.domain.means` as sums that grow batch by batch.

Networks' outputs and everything after them are float64 on a CPU and float32 on a GPU: vectorised
CPU kernels round the ends of a tensor differently, and a product's scores must not show where it stood in a batch.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.domain.ensemble import VOTE_REST, Means
from shared.domain.fits import Fit
from shared.domain.fitting import LEAST
from shared.domain.means import of_labels

Rows = npt.NDArray[np.int64]
Learnt = npt.NDArray[np.bool_]


class DeviceMeans:
    """Nested power means in `means.order`. m members, v views, n images, p products, c classes, g combinations.

    Up to the axis `images` everything is reduced per image; what is left, k keys per image, is summed per product, and
    the axes after `images` are reduced from the sums. Values travel as logarithms between geometric means.
    """

    def __init__(
        self,
        means: Means,
        members: Sequence[str],
        combinations: Sequence[Sequence[str]],
        views: int,
        device: torch.device,
        fits: Sequence[Fit] = (),
        learnt: Learnt | None = None,
        joint: int = 0,
    ) -> None:
        """`fits`, one per combination, may give it other weights than `means` has, or stack it, and a temperature.

        `learnt` bool[m, c] are the labels that each member of a multilabel ensemble has learnt, None of another one: a
        label's mean is over the members that have learnt it. The last `joint` of the members answer once for a product:
        images come before members then, and what those say enters after the mean over images.
        """
        self.device = device
        self.dtype = torch.float64 if device.type == "cpu" else torch.float32
        self._power = {"views": means.views.power, "members": means.members.power, "images": means.images.power}
        self._votes = means.members.votes
        self._views = views
        place = means.order.index("images")
        self._before, self._after = means.order[:place], means.order[place + 1 :]
        self._logs_first = self._power[means.order[0]] == 0
        self._shares: list[tuple[Tensor, Tensor]] = []
        fitted = fits or [Fit()] * len(combinations)
        for combination, fit in zip(combinations, fitted, strict=True):
            weights = fit.weighing(combination, means.weights)
            taking_part = weights > 0 if weights.ndim == 1 else weights.max(axis=1) > 0
            rows = [members.index(name) for name, some in zip(combination, taking_part, strict=True) if some]
            given = weights[taking_part] if learnt is None else of_labels(weights[taking_part], learnt[rows])
            given = given if given.ndim > 1 else given[:, None]
            shares = self._tensor(given / given.sum(axis=0))
            self._shares.append((torch.tensor(rows, device=device), shares[:, None, None]))
        self._combinations = len(combinations)
        self._stacks = self._stacked(members, fitted)
        self._learnt = None if learnt is None else torch.from_numpy(learnt).to(device)
        self._tempered = [(g, fit.temperature) for g, fit in enumerate(fitted) if fit.temperature != 1]
        self._left = (
            len(self._shares) if "members" in self._before else len(members) - joint,
            1 if "views" in self._before else views,
        )

    def _stacked(self, members: Sequence[str], fits: Sequence[Fit]) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Of each combination that is stacked its place, and whose answers are stacked: every such member becomes a
        combination of its own, behind the others. Then powers [m, 1, 1] and biases [c] or [1].
        """
        stacked = sorted({name for fit in fits for name, power in fit.powers.items() if power > 0})
        place = {name: len(self._shares) + row for row, name in enumerate(stacked)}
        one = self._tensor(np.ones((1, 1, 1, 1)))
        self._shares += [(torch.tensor([members.index(name)], device=self.device), one) for name in stacked]
        found = []
        for combination, fit in enumerate(fits):
            if fit.powers:
                names = [name for name, power in fit.powers.items() if power > 0]
                powers, biases = fit.stack(names)
                rows = torch.tensor([place[name] for name in names], dtype=torch.int64, device=self.device)
                found.append((combination, rows, self._tensor(powers[:, None, None]), self._tensor(biases)))
        return found

    def _tensor(self, values: npt.NDArray[np.float64]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    @property
    def keys(self) -> int:
        """Sums per product."""
        return self._left[0] * self._left[1]

    def enter(self, logits: Tensor, member: int = 0) -> Tensor:
        """Logits [n, c] of one member and view as what the first mean takes: probabilities or their logarithms."""
        logits = logits.to(self.dtype)
        if self._learnt is not None:
            logits = logits.masked_fill(~self._learnt[member], -torch.inf)
            return functional.logsigmoid(logits) if self._logs_first else logits.sigmoid()
        return logits.log_softmax(1) if self._logs_first else logits.softmax(1)

    def nothing(self, images: int, classes: int) -> Tensor:
        """What stands for a member that was not asked: [v, n, c]."""
        return torch.zeros((self._views, images, classes), dtype=self.dtype, device=self.device)

    def of_images(self, outputs: Tensor, applies: Tensor | None = None) -> Tensor:
        """What the mean over images sums: [m, v, n, c] of `enter`, without joint members -> [k, n, c].

        `applies` bool[m, n]: which members see the product of each image; None: all.
        """
        logs = self._logs_first
        for axis in self._before:
            outputs, logs = self._reduce(outputs, logs, axis, applies)
        return _transform(outputs, logs, self._power["images"]).flatten(0, 1)

    def of_overrides(self, probabilities: Tensor) -> Tensor:
        """The same for distributions [n, c] that stand in every member and view: a mean of equals is the equal."""
        given = probabilities.to(self.dtype)
        if self._votes and "members" in self._before:
            given = _voted(given)
        return _transform(given, False, self._power["images"])

    def of_products(
        self, sums: Tensor, counts: Tensor, applies: Tensor | None = None, joint: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sums [k, p, c] over counts [p] images -> probabilities float32 [g, p, c], and bool [g, p] where sound.

        Not sound is a product without images, one that every class is vetoed for, and one with outputs that are not
        finite; its probabilities are 0. `applies` bool[m, p]: which members answer for each product; None: all.
        `joint` [j, v, p, c] of `enter`: what the joint members say of the products.
        """
        averages = sums / counts.to(self.dtype).view(1, -1, 1)
        values, logs = _inverse(averages, self._power["images"])
        values = values.view(*self._left, *sums.shape[1:])
        if joint is not None:
            values = torch.cat([values, self._of_joint(joint)])
        for axis in self._after:
            values, logs = self._reduce(values, logs, axis, applies)
        if self._learnt is not None:
            return _labels(values.squeeze(1), logs)
        probabilities, sound = _normalise(values.squeeze(1), logs)
        for combination, rows, powers, biases in self._stacks:
            given = probabilities[rows].to(self.dtype).clamp_min(LEAST).log()
            answers, _ = _normalise((given * powers).sum(0) + biases, True)
            sound[combination] = sound[rows].all(0)
            probabilities[combination] = torch.where(sound[combination].unsqueeze(-1), answers, 0.0)
        for combination, temperature in self._tempered:
            powers = probabilities[combination].to(self.dtype).pow(1 / temperature)
            probabilities[combination], _ = _normalise(powers, False)
        return probabilities[: self._combinations], sound[: self._combinations]

    def _of_joint(self, outputs: Tensor) -> Tensor:
        """As values after the mean over images, as if every image said the same."""
        logs = self._logs_first
        for axis in self._before:  # there may be the views
            outputs, logs = self._reduce(outputs, logs, axis, None)
        power = self._power["images"]
        return _inverse(_transform(outputs, logs, power), power)[0]

    def _reduce(self, values: Tensor, logs: bool, axis: str, applies: Tensor | None) -> tuple[Tensor, bool]:
        power = self._power[axis]
        if axis == "members" and self._votes:
            values, logs = _voted(values.exp() if logs else values), False
        values = _transform(values, logs, power)
        if axis == "views":
            return _inverse(values.mean(1, keepdim=True), power)
        averages = [
            self._average(values[rows], shares, None if applies is None else applies[rows, None, :, None])
            for rows, shares in self._shares
        ]
        return _inverse(torch.stack(averages), power)

    def _average(self, values: Tensor, shares: Tensor, applies: Tensor | None) -> Tensor:
        if applies is not None:  # the shares of those that see a product; none at all is nothing to divide by
            shares = shares * applies
            shares = torch.where(shares.sum(0) > 0, shares, applies.to(self.dtype))
            shares = shares / shares.sum(0)
        terms = values * shares
        if self._learnt is not None or applies is not None or shares.shape[-1] > 1:  # what has no share may be infinite
            terms = torch.where(shares == 0, 0.0, terms)
        return terms.sum(0)


def _labels(values: Tensor, logs: bool) -> tuple[Tensor, Tensor]:
    """Probabilities of labels, which need not sum to 1; sound where all are finite."""
    values = values.exp() if logs else values
    sound = values.isfinite().all(-1)
    return torch.where(sound.unsqueeze(-1), values, 0.0).clamp_max(1.0).to(torch.float32), sound


def _voted(values: Tensor) -> Tensor:
    """As `shared.domain.means.votes`."""
    best = values == values.amax(-1, keepdim=True)
    first = best & (best.cumsum(-1) == 1)  # torch's argmax of equals is any of them
    return first.to(values.dtype) * (1 - VOTE_REST) + values * VOTE_REST


def _transform(values: Tensor, logs: bool, power: float) -> Tensor:
    if power == 0:
        return values if logs else values.log()
    plain = values.exp() if logs else values
    return plain if power == 1 else plain.pow(power)


def _inverse(averages: Tensor, power: float) -> tuple[Tensor, bool]:
    """The mean, and whether it is given as logarithms."""
    if power in (0, 1):
        return averages, power == 0
    return averages.pow(1 / power), False


def _normalise(values: Tensor, logs: bool) -> tuple[Tensor, Tensor]:
    if logs:
        highest = values.amax(-1, keepdim=True)
        values = (values - highest).exp()  # all -inf becomes NaN, hence not sound
    total = values.sum(-1, keepdim=True)
    sound = (total > 0) & (total < torch.inf)
    return torch.where(sound, values / total, 0.0).to(torch.float32), sound.squeeze(-1)
