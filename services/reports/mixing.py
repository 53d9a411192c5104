"""Fitting how much each member counts, of ensembles of one category per product: weights, temperature and stacks."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.reports.cross_fitting import FOLDS, of_own
from services.reports.fitted import Step
from services.reports.holdout import Holdout, Mix, Part
from services.reports.optimum import least
from services.reports.stack_fitting import StackFitter
from shared.domain import apart, fitting, intervals, means, stacking
from shared.domain.fits import Fit

Parts = Callable[[], Iterator[Part]]

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class Mixing:
    """By the log loss of what the networks say of products that no duplicate touches; each step is judged against what
    was taken before it.

    n products, m members, s ways: one without each fold, the last one on all products.
    """

    def __init__(self, holdout: Holdout, mix: Mix, fold: Int64, *, stacks: bool) -> None:
        """`fold` int64[n]; `stacks`: whether there will be any."""
        self._mix, self._fold, self._images = mix, fold, holdout.training_images
        self.fits = [Fit()] * (FOLDS + 1)
        """What is taken so far, of each way."""
        n, m = len(fold), len(mix.members)
        self.model = np.zeros(n, np.bool_)
        """The products that no duplicate touches."""
        self._class = np.zeros(n, np.int64)  # the right one
        self._known = np.zeros((n, m))  # what each member gives to it
        self._limits = apart.limits(self._images)
        self._mass = np.zeros((len(self._limits), n, m))  # what each member gives to rare categories
        self._stacks = StackFitter(n, m, holdout.taxonomy.classes) if stacks else None
        self._losses = np.zeros(n)  # under what is taken so far, of each product without its fold

    def take(self, part: Part, model: Bool) -> None:
        """Note what is fitted on; `model` bool[products of the part]."""
        alone = part.by_member(self._mix)
        self.model[part.rows], self._class[part.rows] = model, part.known
        self._known[part.rows] = alone[np.arange(len(alone)), :, part.known]
        rare = self._images[:, None] < np.array(self._limits, np.int64)
        self._mass[:, part.rows] = np.moveaxis(alone @ rare.astype(np.float64), 2, 0)
        if self._stacks is not None:
            self._stacks.take(part.rows[model], alone[model], part.known[model])

    def no_groups(self) -> str:
        """Why weights are not fitted apart; empty where they are."""
        if self._groups():
            return ""
        return f"they are fitted where {apart.PRODUCTS} products of frequent and of rare categories each were held out"

    def steps(self, parts: Parts, left_out: Collection[str]) -> Iterator[Step]:
        """Weights, weights apart, a temperature, and stacks, which stand for all of these."""
        if "weights" not in left_out:
            yield self._fit_weights()
        if "weights apart" not in left_out:
            yield self._fit_weights_apart()
        yield self._fit_temperature(parts)
        if "stacking" not in left_out:
            yield from self._fit_stacks(parts)

    def _fit_weights(self) -> Step:
        given = Fit().weighing(self._mix.members, self._mix.means.weights)
        self._losses = fitting.mixture_losses(self._known, given)
        fitted = self._mixture_weights()
        after = np.stack([fitting.mixture_losses(self._known, weights) for weights in fitted])
        return self._step("weights", of_own(after, self._fold), [Fit(weights=self._named(one)) for one in fitted])

    def _mixture_weights(self) -> list[Float64]:
        return [fitting.mixture_weights(self._known[rest]) for rest in self._rests()]

    def _fit_weights_apart(self) -> Step:
        """Each way chooses what is frequent, too."""
        ways = zip(self._rests(), self._mixture_weights(), strict=True)
        fits, after = zip(*(self._weights_apart(rest, start) for rest, start in ways), strict=True)
        return self._step("weights apart", of_own(np.stack(after), self._fold), fits)

    def _weights_apart(self, rest: Bool, start: Float64) -> tuple[Fit, Float64]:
        """The fit on the products `rest`, beginning with one set of weights, and the log loss of all products."""
        tried = []
        for place in self._groups():
            mass, limit = self._mass[place], self._limits[place]
            rare = self._rare(limit)
            objective = apart.objective(self._known[rest], mass[rest], rare[rest])
            weights = apart.weights(least(objective, apart.start(start)))
            tried.append((apart.losses(self._known, mass, rare, weights), weights, limit))
        losses, (of_frequent, of_rare), limit = min(tried, key=lambda one: float(one[0][rest].mean()))
        fit = Fit(
            weights=self._named(of_frequent),
            rare_weights=self._named(of_rare),
            rare=tuple((self._images < limit).tolist()),
            frequent_from=limit,
        )
        return fit, losses

    def _groups(self) -> list[int]:
        """The places of those limits under which both groups have enough products."""
        rare = np.array([(self._rare(limit) & self.model).sum() for limit in self._limits], np.int64)
        return np.flatnonzero((rare >= apart.PRODUCTS) & (self.model.sum() - rare >= apart.PRODUCTS)).tolist()

    def _rare(self, limit: int) -> Bool:
        """Whether each product's category is: bool[n]."""
        return np.asarray(self._images[self._class] < limit)

    def _fit_temperature(self, parts: Parts) -> Step:
        losses = np.zeros((FOLDS + 1, len(self._fold), len(fitting.TEMPERATURES)))
        for part in parts():
            found: list[tuple[Fit, Float64]] = []
            for way, fit in enumerate(self.fits):
                known = [of for one, of in found if one == fit]
                if not known:
                    said = means.normalise(part.alone(replace(self._mix, fit=fit)))
                    known = [fitting.tempered_losses(said, part.known)]
                    found.append((fit, known[0]))
                losses[way, part.rows] = known[0]
        fitted = [fitting.best_temperature(losses[way, rest]) for way, rest in enumerate(self._rests())]
        columns = [fitting.TEMPERATURES.tolist().index(temperature) for temperature in (1.0, *fitted)]
        after = np.stack([losses[way, :, column] for way, column in enumerate(columns[1:])])
        self._losses = of_own(losses[:, :, columns[0]], self._fold)
        fits = [replace(fit, temperature=temperature) for fit, temperature in zip(self.fits, fitted, strict=True)]
        return self._step("temperature", of_own(after, self._fold), fits)

    def _fit_stacks(self, parts: Parts) -> Iterator[Step]:
        """Without and with biases."""
        fitted = {"stacking": self._stacked(biases=False), "stacking with biases": self._stacked(biases=True)}
        after = {name: np.zeros(len(self._fold)) for name in fitted}
        for part in parts():
            alone = part.by_member(self._mix)
            for fold in range(FOLDS):
                mine = self._fold[part.rows] == fold
                for name, fits in fitted.items():
                    answers = stacking.stacked(alone[mine], *fits[fold].stack(self._mix.members))
                    right = answers[np.arange(len(answers)), part.known[mine]]
                    after[name][part.rows[mine]] = -np.log(np.maximum(right, fitting.LEAST))
        for name, fits in fitted.items():
            yield self._step(name, after[name], fits)

    def _stacked(self, *, biases: bool) -> list[Fit]:
        assert self._stacks is not None  # else the step is left out
        found = [self._stacks.fitted(rest, biases=biases) for rest in self._rests()]
        return [Fit(powers=self._named(powers), biases=tuple(np.round(of, 6).tolist())) for powers, of in found]

    def _rests(self) -> list[Bool]:
        """The products that each way is fitted on: bool[n] each."""
        return [self.model & (self._fold != way) for way in range(FOLDS)] + [self.model]

    def _named(self, values: Float64) -> dict[str, float]:
        return dict(zip(self._mix.members, np.round(values, 6).tolist(), strict=True))

    def _step(self, name: str, after: Float64, fits: Sequence[Fit]) -> Step:
        """`after` float64[n], by the fit without each product's fold."""
        old, new = self._losses[self.model], after[self.model]
        step = Step(name, intervals.average(old), intervals.average(new), intervals.average(old - new))
        if step.taken:
            self._losses, self.fits = after, list(fits)
        return step
