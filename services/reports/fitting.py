"""Fitting weights, temperature and thresholds of one combination on stored holdout scores, cross-fitted: whatever is
said of a product was fitted on the folds that it, and all that share an image with it, are not in.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.fitted import Decided, Fitted, Step
from services.reports.holdout import Holdout, Mix, Part, Policy, held_out_by
from shared.domain import fitting, intervals, means, predictions
from shared.domain.ensemble import Ensemble, Mean, from_plain
from shared.domain.errors import BadInputError
from shared.domain.fits import DECISIONS, SOURCES, Fit, Thresholds
from shared.domain.intervals import Accuracy
from shared.domain.product_images import EVERY_PRODUCT
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS
from shared.ports import Objects

FOLDS = 5
LEAST = 300
_MODEL = SOURCES.index("model")

Weights = tuple[float, ...]
_UNFITTED: tuple[Weights, float] = ((), 1.0)

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def fit(objects: Objects, version: EnsembleVersion, combination: str, *, accuracy: float, least: int = LEAST) -> Fitted:
    """Fit one combination on the products that all of its members held out, to decide at this accuracy.

    Weights and temperature are those of the networks' answers, so they are fitted on products that no duplicate
    touches. Raises BadInputError where there are fewer than `least` of these, no scores, or a view that has none, and
    NotFoundError where the dataset is gone.
    """
    ensemble = from_plain(version.document)
    missing = [name for name in ensemble.views if name not in VIEWS]
    if missing:
        reason = f"no holdout scores are stored of view {', '.join(missing)}"
        raise BadInputError(f"ensemble {version.name}", reason, remedy=f"use views among {', '.join(VIEWS)}")
    members = ensemble.combinations[combination]
    shared = held_out_by(objects, version, members)
    holdout = Holdout(objects, version, shared, members)
    mix = Mix(members, ensemble.views, ensemble.means)
    fitter = _Fitter(holdout, mix, (ensemble.image_duplicates, ensemble.product_duplicates), len(shared.product_id))
    fitter.check(combination, least)
    no_weights = _no_weights(ensemble, members)
    steps = () if no_weights else (fitter.fit_weights(),)
    steps = (*steps, fitter.fit_temperature())
    found = fitter.fit_thresholds(accuracy)
    before, after = fitter.right_before[fitter.judged], fitter.right_after[fitter.judged]
    return Fitted(
        ensemble=version.name,
        version=version.version,
        dataset=version.dataset,
        combination=combination,
        products=len(before),
        undecodable=len(shared.product_id) - len(before),
        steps=steps,
        no_weights=no_weights,
        unfitted=_share(before),
        fitted=_share(after),
        difference=intervals.average(after.astype(np.float64) - before),
        decided=tuple(fitter.decided(found)),
        fit=found,
    )


def _no_weights(ensemble: Ensemble, members: Sequence[str]) -> str:
    """Why no weights are fitted: under other means the log loss needs every class at every step of the search."""
    if len(members) == 1:
        return "there is one member"
    if not all(ensemble.members[name].images == EVERY_PRODUCT for name in members):
        return "they are fitted where every member sees all products"
    arithmetic = all(mean == Mean() for mean in (ensemble.means.views, ensemble.means.members, ensemble.means.images))
    return "" if arithmetic else "they are fitted where all means are arithmetic"


def _share(right: Bool) -> Accuracy:
    return intervals.accuracy(int(right.sum()), len(right))


class _Fitter:
    """Fits step by step, each time `FOLDS` + 1 ways: without each fold, to judge by it, and on all products.

    n products, s ways; `_rests` bool[s, n] are those that a way is fitted on.
    """

    def __init__(self, holdout: Holdout, mix: Mix, policy: Policy, products: int) -> None:
        self._holdout = holdout
        self._policy = policy
        self._file = mix
        self._weights: list[Weights] = [()] * (FOLDS + 1)  # of each way; empty: the file's
        self._temperatures = [1.0] * (FOLDS + 1)
        self._fold = fitting.folds(fitting.groups(holdout.first_image, holdout.image_md5), FOLDS)
        self._source = np.full(products, -1)
        shape = (FOLDS + 1, products, len(DECISIONS) - 1)
        self._probability, self._right = np.zeros(shape), np.zeros(shape, np.bool_)  # see `_answers`
        self._thresholds: list[list[Thresholds]] = []  # by way and source
        self.right_before = np.zeros(products, np.bool_)  # bool[n], without any fit
        self._known = np.zeros((products, len(mix.members)))  # what each member gives to the right class
        for part in self._parts():
            self._source[part.rows], _ = part.decided(policy)
            for place, member in enumerate(mix.members):
                alone = part.alone(replace(mix, members=(member,)))
                self._known[part.rows, place] = alone[np.arange(len(alone)), part.known]
        self.judged: Bool = self._source >= 0
        self._rests = np.stack([*(self.judged & (self._fold != fold) for fold in range(FOLDS)), self.judged])
        self._model: Bool = self._source == _MODEL

    def check(self, combination: str, least: int) -> None:
        """Raises BadInputError where there is too little to fit on."""
        n = int(self._model.sum())
        if n < least:
            reason = f"{n} products that the networks answer were held out by every member; a fit needs {least}"
            raise BadInputError(combination, reason, remedy="train with a larger holdout, or ask for less with --least")
        if np.ptp(self._fold[self._model]) == 0:
            raise BadInputError(combination, "all products held out share images", remedy="train with a larger holdout")

    def fit_weights(self) -> Step:
        """Weights of the members, by log loss."""
        fitted = [fitting.mixture_weights(self._known[rest & self._model]) for rest in self._rests]
        given = np.array([self._file.means.weights.get(name, 1.0) for name in self._file.members])
        before = fitting.mixture_losses(self._known, given)
        of_ways = np.stack([fitting.mixture_losses(self._known, weights) for weights in fitted])
        step = self._step("weights", before, self._own(of_ways))
        if step.taken:
            self._weights = [tuple(np.round(weights, 6).tolist()) for weights in fitted]
        return step

    def fit_temperature(self) -> Step:
        """The temperature, by log loss."""
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
        step = self._step("temperature", self._own(losses[:, :, columns[0]]), self._own(after))
        if step.taken:
            self._temperatures = fitted
        return step

    def fit_thresholds(self, accuracy: float) -> Fit:
        """The whole fit, once thresholds are found under the weights and temperatures taken."""
        ways = list(zip(self._weights, self._temperatures, strict=True))
        for part in self._parts():
            answers = {way: self._answers(part, *way) for way in {*ways, _UNFITTED}}
            for place, way in enumerate(ways):
                self._probability[place, part.rows], self._right[place, part.rows] = answers[way]
            self.right_before[part.rows] = answers[_UNFITTED][1][:, 0]
        self._thresholds = [
            [self._thresholds_of(way, rest & (self._source == source), accuracy) for source in range(len(SOURCES))]
            for way, rest in enumerate(self._rests)
        ]
        return Fit(
            weights=dict(zip(self._file.members, self._weights[-1], strict=False)),
            temperature=self._temperatures[-1],
            thresholds=dict(zip(SOURCES, self._thresholds[-1], strict=True)),
            accuracy=accuracy,
            products=int(self.judged.sum()),
        )

    @property
    def right_after(self) -> Bool:
        """bool[n], by the fit without each product's fold."""
        return np.asarray(self._own(self._right)[:, 0], np.bool_)

    def decided(self, found: Fit) -> Iterator[Decided]:
        """What the thresholds without a product's fold decide on it, per source."""
        for place, source in enumerate(SOURCES):
            mine = self._source == place
            if not mine.any():
                continue
            by_way = [
                fitting.decisions(of_way[place], p)
                for of_way, p in zip(self._thresholds, self._probability, strict=True)
            ]
            decided = self._own(np.stack(by_way))
            right = self._own(self._right)
            for step, decision in enumerate(DECISIONS):
                these = mine & (decided == step)
                yield Decided(
                    source=source,
                    decision=decision,
                    threshold=(*found.thresholds[source], None)[step],
                    share=intervals.accuracy(int(these.sum()), int(mine.sum())),
                    right=_share(right[these, step % (len(DECISIONS) - 1)]),  # for review: were its category taken
                )

    def _parts(self) -> Iterator[Part]:
        return self._holdout.parts([self._policy])

    def _mix(self, weights: Weights) -> Mix:
        return replace(self._file, weights=weights)

    def _own(self, of_ways: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[s, n, ...] -> [n, ...]: of each product what the way without its fold says."""
        return of_ways[self._fold, np.arange(len(self._fold))]

    def _step(self, name: str, before: Float64, after: Float64) -> Step:
        before, after = before[self._model], after[self._model]
        return Step(name, intervals.average(before), intervals.average(after), intervals.average(before - after))

    def _answers(self, part: Part, weights: Weights, temperature: float) -> tuple[Float64, Bool]:
        """Of a part's products, the probability of the category and of the best nodes of levels 2 and 1, and which
        of these are right: both [n, 3].
        """
        taxonomy = self._holdout.taxonomy
        _, decided = part.decided(self._policy)
        answers = means.temper(means.normalise(part.answers(self._mix(weights), self._policy)), temperature)
        answers[decided >= 0] = 0
        answers[decided >= 0, decided[decided >= 0]] = 1
        best = predictions.summarise(answers, taxonomy, 1)
        probability = np.column_stack([best.probability[:, 0], best.node_probability[:, [1, 0]]]).astype(np.float64)
        nodes = [taxonomy.node_of[level][part.known] == best.node_index[:, level] for level in (1, 0)]
        return probability, np.column_stack([best.class_index[:, 0] == part.known, *nodes])

    def _thresholds_of(self, way: int, rows: Bool, accuracy: float) -> Thresholds:
        """Rounded down, so that what is as probable is decided alike in float32 too, 1 above all."""
        found = fitting.thresholds(self._probability[way, rows], self._right[way, rows], accuracy)
        accept, second, first = (None if p is None else math.floor(p * 1e6 - 0.5) / 1e6 for p in found)
        return accept, second, first
