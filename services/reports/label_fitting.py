"""Fitting weights and thresholds of a multilabel combination on stored holdout scores, cross-fitted as
`services.reports.fitting` does: whatever is said of a product was fitted on the folds that it is not in.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.fitted import Step
from services.reports.holdout import Holdout, Mix, held_out_by
from shared.domain import fitting, label_figures, label_fitting
from shared.domain.digests import scatter, seed_of
from shared.domain.ensemble import Ensemble, Mean, from_plain
from shared.domain.errors import BadInputError
from shared.domain.fits import SURE, Fit
from shared.domain.intervals import Average
from shared.domain.product_images import EVERY_PRODUCT
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS
from shared.ports import Objects

FOLDS = 5
_SWARM_PRODUCTS = 10_000  # that weights are searched on; the search looks at them a thousand times

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelFitted:
    """What was fitted, and how it does on products that it was not fitted on; steps are of the micro F1."""

    ensemble: str
    version: str
    dataset: str
    combination: str
    products: int
    steps: tuple[Step, ...]
    no_weights: str  # why there is no such step; empty where there is
    unfitted: Average  # micro F1 at `SURE`, as the file weighs the members
    fitted: Average
    macro: tuple[float, float]  # macro F1 before and after
    without_positives: tuple[int, ...]  # category ids of labels that no product fitted on has: they keep `SURE`
    fit: Fit

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        steps = [asdict(step) | {"taken": step.taken} for step in self.steps]
        return asdict(self) | {"steps": steps, "fit": self.fit.plain()}


def fit(objects: Objects, version: EnsembleVersion, combination: str, *, least: int) -> LabelFitted:
    """Fit one combination on the products that all of its members held out and that share no image with training.

    Raises BadInputError where there are fewer than `least` of these, no scores, or a view that has none, and
    NotFoundError where the dataset is gone.
    """
    ensemble = from_plain(version.document)
    missing = [name for name in ensemble.views if name not in VIEWS]
    if missing:
        reason = f"no holdout scores are stored of view {', '.join(missing)}"
        raise BadInputError(f"ensemble {version.name}", reason, remedy=f"use views among {', '.join(VIEWS)}")
    members = ensemble.combinations[combination]
    shared = held_out_by(objects, version, members)
    fitter = _Fitter(
        Holdout(objects, version, shared, members), Mix(members, ensemble.views, ensemble.means), ~shared.seen
    )
    fitter.check(combination, least)
    no_weights = _no_weights(ensemble, members)
    steps = () if no_weights else (fitter.fit_weights(),)
    steps = (*steps, fitter.fit_one_threshold(), fitter.fit_thresholds())
    return LabelFitted(
        ensemble=version.name,
        version=version.version,
        dataset=version.dataset,
        combination=combination,
        products=fitter.products,
        steps=steps,
        no_weights=no_weights,
        unfitted=label_figures.f1_average(fitter.before),
        fitted=label_figures.f1_average(fitter.after),
        macro=fitter.macro(),
        without_positives=fitter.without_positives(),
        fit=fitter.found(),
    )


def _no_weights(ensemble: Ensemble, members: tuple[str, ...]) -> str:
    """Why no weights are fitted: elsewhere a product's answer is no mean of what each member says of it."""
    if len(members) == 1:
        return "there is one member"
    if not all(ensemble.members[name].images == EVERY_PRODUCT for name in members):
        return "they are fitted where every member sees all products"
    means = ensemble.means
    arithmetic = all(mean == Mean() for mean in (means.views, means.members, means.images))
    fits = arithmetic or means.order[-1] == "members"
    return "" if fits else "they are fitted where all means are arithmetic, or members come last in their order"


class _Fitter:
    """Fits step by step, each time `FOLDS` + 1 ways: without each fold, to judge by it, and on all n products."""

    def __init__(self, holdout: Holdout, mix: Mix, usable: Bool) -> None:
        self._mix = mix
        self._taxonomy = holdout.taxonomy
        self._learnt = holdout.learnt
        self._mean = mix.means.members
        given = np.array([mix.means.weights.get(name, 1.0) for name in mix.members])
        self._weights = [given if (given > 0).any() else np.ones(len(given))] * (FOLDS + 1)
        fold = fitting.folds(fitting.groups(holdout.first_image, holdout.image_md5), FOLDS)
        rows: list[Int64] = []
        of_parts: list[tuple[Float32, Bool, Float64]] = []
        for part in holdout.parts([]):
            keep = usable[part.rows]
            rows.append(part.rows[keep])
            of_members = [part.alone(replace(mix, members=(name,)))[keep] for name in mix.members]
            known = holdout.sets.dense(part.known[keep]) > 0
            of_parts.append((np.stack(of_members, axis=1).astype(np.float32), known, part.alone(mix)[keep]))
        self._alone = np.concatenate([alone for alone, _, _ in of_parts])
        self._known = np.concatenate([known for _, known, _ in of_parts])
        self._plain = np.concatenate([plain for _, _, plain in of_parts])
        self._fold: Int64 = fold[np.concatenate(rows)]
        labels = self._known.shape[1]
        self._thresholds: list[Float64] = [np.full(labels, SURE)] * (FOLDS + 1)
        self.before = self.after = self._counts(self._plain > SURE)
        self._said = self._macro_before = self._plain > SURE
        self._mixed: list[Float64] = [self._plain] * (FOLDS + 1)

    @property
    def products(self) -> int:
        """How many are judged."""
        return len(self._fold)

    def check(self, combination: str, least: int) -> None:
        """Raises BadInputError where there is too little to fit on."""
        n = self.products
        if n < least:
            reason = (
                f"{n} products that share no image with training were held out by every member; a fit needs {least}"
            )
            raise BadInputError(combination, reason, remedy="train with a larger holdout, or ask for less with --least")
        if np.ptp(self._fold) == 0:
            raise BadInputError(combination, "all products held out share images", remedy="train with a larger holdout")

    def fit_weights(self) -> Step:
        """Weights of the members, by a particle swarm."""
        some = scatter(seed_of("swarm"), np.arange(self.products)).argsort()[:_SWARM_PRODUCTS]
        fitted = []
        for way in range(FOLDS + 1):
            rows = some[self._fold[some] != way]
            found = label_fitting.weights(self._alone[rows], self._learnt, self._known[rows], self._mean)
            fitted.append(np.round(found, 6))
        mixed = [label_fitting.mixed(self._alone, self._learnt, weights, self._mean) for weights in fitted]
        said = self._own(np.stack([one > SURE for one in mixed]))
        step = self._step("weights", said)
        if step.taken:
            self._weights, self._mixed = fitted, mixed
        return step

    def fit_one_threshold(self) -> Step:
        """One threshold of all labels."""
        labels = self._known.shape[1]
        fitted = [np.full(labels, label_fitting.one_threshold(*rest)) for rest in self._rests()]
        return self._take("one threshold", fitted)

    def fit_thresholds(self) -> Step:
        """A threshold of each label."""
        return self._take("a threshold per label", [label_fitting.thresholds(*rest) for rest in self._rests()])

    def found(self) -> Fit:
        """The whole fit."""
        chosen = self._thresholds[-1].tolist()
        weights = dict(zip(self._mix.members, self._weights[-1].tolist(), strict=True))
        return Fit(
            weights=weights if self._mixed[-1] is not self._plain else {},
            label_thresholds=() if set(chosen) == {SURE} else (chosen[0],) if len(set(chosen)) == 1 else tuple(chosen),
            products=self.products,
        )

    def macro(self) -> tuple[float, float]:
        """Macro F1 before and after."""
        counted = (label_figures.counts(said, self._known) for said in (self._macro_before, self._said))
        before, after = (label_figures.macro(one)["f1"] for one in counted)
        return before, after

    def without_positives(self) -> tuple[int, ...]:
        """The labels that no product has."""
        return tuple(self._taxonomy.category_ids[~self._known.any(axis=0)].tolist())

    def _rests(self) -> list[tuple[Float64, Bool]]:
        return [(of[self._fold != way], self._known[self._fold != way]) for way, of in enumerate(self._mixed)]

    def _take(self, name: str, fitted: list[Float64]) -> Step:
        said = self._own(np.stack([of > limit for of, limit in zip(self._mixed, fitted, strict=True)]))
        step = self._step(name, said)
        if step.taken:
            self._thresholds = fitted
        return step

    def _step(self, name: str, said: Bool) -> Step:
        """Judged against what is taken so far, and taken itself where certain."""
        counts = self._counts(said)
        step = Step(
            name,
            label_figures.f1_average(self.after),
            label_figures.f1_average(counts),
            label_figures.f1_gain(self.after, counts),
        )
        if step.taken:
            self.after, self._said = counts, said
        return step

    def _counts(self, said: Bool) -> Int64:
        """Per product: int64[n, 3]."""
        return label_figures.counts(said.T, self._known.T).T

    def _own(self, of_ways: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[s, n, ...] -> [n, ...]: of each product what the way without its fold says."""
        return of_ways[self._fold, np.arange(self.products)]
