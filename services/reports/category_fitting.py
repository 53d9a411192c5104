"""Fitting weights, temperature and thresholds of decisions, of ensembles of one category per product."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.reports.cross_fitting import FOLDS, Fitter, arithmetic, of_own
from services.reports.fitted import Decided, Step
from services.reports.holdout import Holdout, Mix, Part, Policy
from shared.domain import fitting, intervals, means, predictions
from shared.domain.fits import DECISIONS, SOURCES, Fit, Thresholds

_MODEL = SOURCES.index("model")

Weights = tuple[float, ...]
_UNFITTED: tuple[Weights, float] = ((), 1.0)

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class CategoryFitter(Fitter):
    """Weights and temperature are of the networks' answers, so they are fitted on products that no duplicate touches.

    n products, s ways; `_rests` bool[s, n] are those that a way is fitted on.
    """

    fitted_on = "the networks answer"
    means = "all means are arithmetic"
    fits_weights = staticmethod(arithmetic)

    def __init__(self, holdout: Holdout, mix: Mix, policy: Policy, accuracy: float) -> None:
        """`accuracy` is what decisions have to reach."""
        super().__init__(holdout, mix)
        self._policy = policy
        self._accuracy = accuracy
        self._weights: list[Weights] = [()] * (FOLDS + 1)  # of each way; empty: the file's
        self._temperatures = [1.0] * (FOLDS + 1)
        products = len(self.fold)
        self._source = np.full(products, -1)
        shape = (FOLDS + 1, products, len(DECISIONS) - 1)
        self._probability, self._right = np.zeros(shape), np.zeros(shape, np.bool_)  # see `_answers`
        self._thresholds: list[list[Thresholds]] = []  # by way and source
        self._right_before = np.zeros(products, np.bool_)  # bool[n], without any fit
        self._known = np.zeros((products, len(mix.members)))  # what each member gives to the right class
        for part in self._parts():
            self.undecodable -= len(part.rows)
            self._source[part.rows], _ = part.decided(policy)
            for place, member in enumerate(mix.members):
                alone = part.alone(replace(mix, members=(member,)))
                self._known[part.rows, place] = alone[np.arange(len(alone)), part.known]
        judged = self._source >= 0
        self._rests = np.stack([*(judged & (self.fold != fold) for fold in range(FOLDS)), judged])
        self._model: Bool = self._source == _MODEL

    @property
    def usable(self) -> Int64:
        """Products that the networks answer."""
        return np.flatnonzero(self._model)

    def steps(self, *, weights: bool) -> tuple[Step, ...]:
        """Weights, temperature, and thresholds under those that are taken."""
        steps = (self._fit_weights(),) if weights else ()
        steps = (*steps, self._fit_temperature())
        self._fit_thresholds()
        return steps

    def fit(self, way: int) -> Fit:
        """See `Fitter`."""
        return Fit(
            weights=dict(zip(self.mix.members, self._weights[way], strict=False)),
            temperature=self._temperatures[way],
            thresholds=dict(zip(SOURCES, self._thresholds[way], strict=True)),
            accuracy=self._accuracy,
            products=int(self._rests[way].sum()),
        )

    def counts(self) -> tuple[Int64, Int64]:
        """Right, or wrong."""
        before, after = (of[self._rests[-1]] for of in (self._right_before, of_own(self._right, self.fold)[:, 0]))
        return np.column_stack([before, ~before]).astype(np.int64), np.column_stack([after, ~after]).astype(np.int64)

    def decided(self) -> tuple[Decided, ...]:
        """What the thresholds without a product's fold decide on it, per source."""
        return tuple(self._decided())

    def _fit_weights(self) -> Step:
        """By log loss."""
        fitted = [fitting.mixture_weights(self._known[rest & self._model]) for rest in self._rests]
        given = np.array([self.mix.means.weights.get(name, 1.0) for name in self.mix.members])
        before = fitting.mixture_losses(self._known, given)
        of_ways = np.stack([fitting.mixture_losses(self._known, weights) for weights in fitted])
        step = self._step("weights", before, of_own(of_ways, self.fold))
        if step.taken:
            self._weights = [tuple(np.round(weights, 6).tolist()) for weights in fitted]
        return step

    def _fit_temperature(self) -> Step:
        """By log loss."""
        losses = np.zeros((FOLDS + 1, len(self._source), len(fitting.TEMPERATURES)))
        for part in self._parts():
            of_weights = {
                weights: fitting.tempered_losses(means.normalise(part.alone(self._mix(weights))), part.known)
                for weights in set(self._weights)
            }
            for way, weights in enumerate(self._weights):
                losses[way, part.rows] = of_weights[weights]
        fitted = [fitting.best_temperature(losses[way, rest & self._model]) for way, rest in enumerate(self._rests)]
        columns = [fitting.TEMPERATURES.tolist().index(temperature) for temperature in (1.0, *fitted)]
        after = np.stack([losses[way, :, column] for way, column in enumerate(columns[1:])])
        step = self._step("temperature", of_own(losses[:, :, columns[0]], self.fold), of_own(after, self.fold))
        if step.taken:
            self._temperatures = fitted
        return step

    def _fit_thresholds(self) -> None:
        """Under the weights and temperatures taken."""
        ways = list(zip(self._weights, self._temperatures, strict=True))
        for part in self._parts():
            answers = {way: self._answers(part, *way) for way in {*ways, _UNFITTED}}
            for place, way in enumerate(ways):
                self._probability[place, part.rows], self._right[place, part.rows] = answers[way]
            self._right_before[part.rows] = answers[_UNFITTED][1][:, 0]
        self._thresholds = [
            [self._thresholds_of(way, rest & (self._source == source)) for source in range(len(SOURCES))]
            for way, rest in enumerate(self._rests)
        ]

    def _decided(self) -> Iterator[Decided]:
        for place, source in enumerate(SOURCES):
            mine = self._source == place
            if not mine.any():
                continue
            by_way = [
                fitting.decisions(of_way[place], p)
                for of_way, p in zip(self._thresholds, self._probability, strict=True)
            ]
            decided = of_own(np.stack(by_way), self.fold)
            right = of_own(self._right, self.fold)
            for step, decision in enumerate(DECISIONS):
                these = mine & (decided == step)
                of_these = right[these, step % (len(DECISIONS) - 1)]  # for review: were its category taken
                yield Decided(
                    source=source,
                    decision=decision,
                    threshold=(*self._thresholds[-1][place], None)[step],
                    share=intervals.accuracy(int(these.sum()), int(mine.sum())),
                    right=intervals.accuracy(int(of_these.sum()), len(of_these)),
                )

    def _parts(self) -> Iterator[Part]:
        return self.holdout.parts([self._policy])

    def _mix(self, weights: Weights) -> Mix:
        return replace(self.mix, weights=weights)

    def _step(self, name: str, before: Float64, after: Float64) -> Step:
        before, after = before[self._model], after[self._model]
        return Step(name, intervals.average(before), intervals.average(after), intervals.average(before - after))

    def _answers(self, part: Part, weights: Weights, temperature: float) -> tuple[Float64, Bool]:
        """Of a part's products, the probability of the category and of the best nodes of levels 2 and 1, and which
        of these are right: both [n, 3].
        """
        taxonomy = self.holdout.taxonomy
        _, decided = part.decided(self._policy)
        answers = means.temper(means.normalise(part.answers(self._mix(weights), self._policy)), temperature)
        answers[decided >= 0] = 0
        answers[decided >= 0, decided[decided >= 0]] = 1
        best = predictions.summarise(answers, taxonomy, 1)
        probability = np.column_stack([best.probability[:, 0], best.node_probability[:, [1, 0]]]).astype(np.float64)
        nodes = [taxonomy.node_of[level][part.known] == best.node_index[:, level] for level in (1, 0)]
        return probability, np.column_stack([best.class_index[:, 0] == part.known, *nodes])

    def _thresholds_of(self, way: int, rows: Bool) -> Thresholds:
        """Rounded down, so that what is as probable is decided alike in float32 too, 1 above all."""
        found = fitting.thresholds(self._probability[way, rows], self._right[way, rows], self._accuracy)
        accept, second, first = (None if p is None else math.floor(p * 1e6 - 0.5) / 1e6 for p in found)
        return accept, second, first
