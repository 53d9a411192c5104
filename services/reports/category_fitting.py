"""Fitting how much members count, and thresholds of decisions, of ensembles of one category per product."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.reports.cross_fitting import FOLDS, Fitter, arithmetic, of_own
from services.reports.fitted import Decided, Step
from services.reports.holdout import Holdout, Mix, Part, Policy
from services.reports.mixing import Mixing
from shared.domain import fitting, intervals, means, predictions
from shared.domain.fits import DECISIONS, SOURCES, Fit, Precisions, Thresholds
from shared.domain.intervals import Accuracy

_MODEL = SOURCES.index("model")

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class CategoryFitter(Fitter):
    """How much members count is fitted on products that no duplicate touches: it is a matter of the networks' answers.

    n products, s ways; `_rests` bool[s, n] are those that the thresholds of a way are fitted on.
    """

    fitted_on = "the networks answer"
    means = "all means are arithmetic"
    fits_weights = staticmethod(arithmetic)

    def __init__(self, holdout: Holdout, mix: Mix, policy: Policy, accuracy: float) -> None:
        """`accuracy` is what decisions have to reach."""
        super().__init__(holdout, mix)
        self._policy = policy
        self._accuracy = accuracy
        self._mixing = Mixing(holdout, mix, self.fold, stacks=not self._no_stacking())
        products = len(self.fold)
        self._source = np.full(products, -1)
        shape = (FOLDS + 1, products, len(DECISIONS) - 1)
        self._probability, self._right = np.zeros(shape), np.zeros(shape, np.bool_)  # see `_answers`
        self._told = np.zeros(products, np.bool_)  # bool[n], whose class duplicates alone decide
        self._precisions: list[dict[str, Precisions]] = []  # by way and source
        self._thresholds: list[list[Thresholds]] = []  # by way and source
        self._right_before = np.zeros(products, np.bool_)  # bool[n], without any fit
        for part in self._parts():
            self.undecodable -= len(part.rows)
            self._source[part.rows], decided = part.decided(policy)
            self._told[part.rows] = decided >= 0
            self._mixing.take(part, self._source[part.rows] == _MODEL)
        judged = self._source >= 0
        self._rests = np.stack([*(judged & (self.fold != fold) for fold in range(FOLDS)), judged])

    @property
    def usable(self) -> Int64:
        """Products that the networks answer."""
        return np.flatnonzero(self._mixing.model)

    def left_out(self) -> dict[str, str]:
        """See `Fitter`."""
        weights = self.no_weights()
        why = {
            "weights": weights,
            "weights apart": weights or self._mixing.no_groups(),
            "stacking": self._no_stacking(),
        }
        return {name: reason for name, reason in why.items() if reason}

    def steps(self) -> tuple[Step, ...]:
        """How much members count, and thresholds under what is taken of that."""
        steps = tuple(self._mixing.steps(self._parts, self.left_out()))
        self._fit_thresholds()
        return steps

    def fit(self, way: int) -> Fit:
        """See `Fitter`."""
        return replace(
            self._mixing.fits[way],
            thresholds=dict(zip(SOURCES, self._thresholds[way], strict=True)),
            precisions=self._precisions[way],
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

    def told(self) -> dict[str, Accuracy]:
        """See `Fitter`."""
        by_source = {source: self._told & (self._source == place) for place, source in enumerate(SOURCES)}
        right = self._right[-1, :, 0]
        return {
            source: intervals.accuracy(int(right[mine].sum()), int(mine.sum()))
            for source, mine in by_source.items()
            if mine.any()
        }

    def _no_stacking(self) -> str:
        return self.no_mixing() or ("they are fitted where members do not vote" if self.mix.means.members.votes else "")

    def _fit_thresholds(self) -> None:
        fits = self._mixing.fits
        for part in self._parts():
            distinct = [Fit(), *(fit for way, fit in enumerate(fits) if fit not in fits[:way] and fit != Fit())]
            answers = [self._answers(part, fit) for fit in distinct]
            for way, fit in enumerate(fits):
                self._probability[way, part.rows], self._right[way, part.rows] = answers[distinct.index(fit)]
            self._right_before[part.rows] = answers[0][1][:, 0]
        self._precisions = [self._measured(way) for way in range(len(fits))]
        self._thresholds = [
            [self._thresholds_of(way, rest & (self._source == source)) for source in range(len(SOURCES))]
            for way, rest in enumerate(self._rests)
        ]

    def _measured(self, way: int) -> dict[str, Precisions]:
        """How often what duplicates decide is right, which is from here on how probable it is."""
        found: dict[str, Precisions] = {}
        for place, source in enumerate(SOURCES):
            mine = self._told & (self._source == place)
            known = mine & self._rests[way]
            if known.any():
                shares = np.round(self._right[way, known].mean(axis=0), predictions.DECIMALS)
                self._probability[way, mine] = shares
                category, second, first = shares.tolist()
                found[source] = category, second, first
        return found

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

    def _answers(self, part: Part, fit: Fit) -> tuple[Float64, Bool]:
        """Of a part's products, the probability of the category and of the best nodes of levels 2 and 1, and which
        of these are right: both [n, 3].
        """
        taxonomy = self.holdout.taxonomy
        _, decided = part.decided(self._policy)
        mixed = part.answers(replace(self.mix, fit=fit), self._policy)
        answers = means.temper(means.normalise(mixed), fit.temperature)
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
