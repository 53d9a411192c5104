"""Fitting weights and thresholds of labels of a multilabel combination."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.reports.cross_fitting import FOLDS, Fitter, arithmetic, of_own
from services.reports.fitted import Step
from services.reports.holdout import Holdout, Mix
from shared.domain import label_figures, label_fitting
from shared.domain.digests import scatter, seed_of
from shared.domain.ensemble import Means
from shared.domain.fits import SURE, Fit
from shared.domain.intervals import Average
from shared.domain.label_figures import Marks

_SWARM_PRODUCTS = 10_000  # that weights are searched on; the search looks at them a thousand times

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class LabelFitter(Fitter):
    """Weights and thresholds by the micro F1 of the networks' answers, on products that share no image with training.

    n of these products, s ways.
    """

    fitted_on = "share no image with training"
    means = "all means are arithmetic, or members come last in their order"

    def __init__(self, holdout: Holdout, mix: Mix) -> None:
        super().__init__(holdout, mix)
        rows, alone, known, plain = [], [], [], []
        for part in holdout.parts([]):
            self.undecodable -= len(part.rows)
            keep = ~holdout.seen[part.rows]
            rows.append(part.rows[keep])
            of_members = [part.alone(replace(mix, members=(name,)))[keep] for name in mix.members]
            alone.append(np.stack(of_members, axis=1).astype(np.float32))
            known.append(holdout.sets.dense(part.known[keep]) > 0)
            plain.append(part.alone(mix)[keep])
        self._rows = np.concatenate(rows)
        self._alone, self._known = np.concatenate(alone), np.concatenate(known)
        self._own = self.fold[self._rows]
        unfitted = np.concatenate(plain)
        self._weights: list[Float64] = []  # of each way; empty: the file's
        self._thresholds = [np.full(self._known.shape[1], SURE)] * (FOLDS + 1)
        self._mixed = [unfitted] * (FOLDS + 1)
        self._said_before = self._said = unfitted > SURE

    @property
    def usable(self) -> Int64:
        """Products that share no image with training."""
        return self._rows

    @staticmethod
    def fits_weights(means: Means) -> bool:
        """Elsewhere a product's answer is no mean of what each member says of it."""
        return arithmetic(means) or means.order[-1] == "members"

    def left_out(self) -> dict[str, str]:
        """See `Fitter`."""
        one = dict.fromkeys(("weights apart", "stacking"), "they are fitted where a product has one category")
        return ({"weights": why} if (why := self.no_weights()) else {}) | one

    def steps(self) -> tuple[Step, ...]:
        """Weights, one threshold for all labels, and one for each."""
        steps = () if self.no_weights() else (self._fit_weights(),)
        labels = self._known.shape[1]
        one = [np.full(labels, label_fitting.one_threshold(*rest)) for rest in self._rests()]
        steps = (*steps, self._take("one threshold", one))
        each = [label_fitting.thresholds(*rest) for rest in self._rests()]
        return (*steps, self._take("a threshold per label", each))

    def fit(self, way: int) -> Fit:
        """See `Fitter`."""
        chosen = self._thresholds[way].tolist()
        weights = self._weights[way].tolist() if self._weights else []
        return Fit(
            weights=dict(zip(self.mix.members, weights, strict=False)),
            label_thresholds=() if set(chosen) == {SURE} else (chosen[0],) if len(set(chosen)) == 1 else tuple(chosen),
            products=len(self._rows) if way < 0 else int((self._own != way).sum()),
        )

    def counts(self) -> tuple[Int64, Int64]:
        """Of labels."""
        return self._counts(self._said_before), self._counts(self._said)

    def macro(self) -> tuple[Average, Average]:
        """See `Fitter`."""
        before, after = (self._macro(said) for said in (self._said_before, self._said))
        return before, after

    def without_positives(self) -> tuple[int, ...]:
        """See `Fitter`."""
        return tuple(self.holdout.taxonomy.category_ids[~self._known.any(axis=0)].tolist())

    def _fit_weights(self) -> Step:
        """By a particle swarm."""
        learnt, mean = self.holdout.learnt, self.mix.means.members
        some = scatter(seed_of("swarm"), np.arange(len(self._rows))).argsort()[:_SWARM_PRODUCTS]
        fitted = []
        for way in range(FOLDS + 1):
            rows = some[self._own[some] != way]
            fitted.append(np.round(label_fitting.weights(self._alone[rows], learnt, self._known[rows], mean), 6))
        mixed = [label_fitting.mixed(self._alone, learnt, weights, mean) for weights in fitted]
        step = self._step("weights", of_own(np.stack([one > SURE for one in mixed]), self._own))
        if step.taken:
            self._weights, self._mixed = fitted, mixed
        return step

    def _rests(self) -> list[tuple[Float64, Bool]]:
        return [(of[self._own != way], self._known[self._own != way]) for way, of in enumerate(self._mixed)]

    def _take(self, name: str, fitted: list[Float64]) -> Step:
        said = np.stack([of > limit for of, limit in zip(self._mixed, fitted, strict=True)])
        step = self._step(name, of_own(said, self._own))
        if step.taken:
            self._thresholds = fitted
        return step

    def _step(self, name: str, said: Bool) -> Step:
        """Judged against what is taken so far, and taken itself where certain."""
        task, before, after = self.holdout.task, self._counts(self._said), self._counts(said)
        step = Step(name, label_figures.f1_average(before), label_figures.f1_average(after), task.gain(before, after))
        if step.taken:
            self._said = said
        return step

    def _macro(self, said: Bool) -> Average:
        products, labels = said.shape
        (product, label), (known_product, known_label) = np.nonzero(said), np.nonzero(self._known)
        return Marks.of(products, labels, (product, label), (known_product, known_label)).macro_f1()

    def _counts(self, said: Bool) -> Int64:
        """Per product: int64[n, 3]."""
        return label_figures.counts(said.T, self._known.T).T
