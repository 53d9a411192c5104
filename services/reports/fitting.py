"""Fitting one combination on stored holdout scores, cross-fitted, and what comes of it."""

from services.reports.category_fitting import CategoryFitter
from services.reports.cross_fitting import Fitter
from services.reports.fitted import Fitted
from services.reports.holdout import Holdout, Mix, held_out_by
from services.reports.label_fitting import LabelFitter
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS
from shared.ports import Objects

LEAST = 300


def fit(objects: Objects, version: EnsembleVersion, combination: str, *, accuracy: float, least: int = LEAST) -> Fitted:
    """Fit one combination on the products that all of its members held out, to decide at this accuracy.

    Raises BadInputError where there are fewer than `least` that can be fitted on, no scores, or a view that has none,
    and NotFoundError where the dataset is gone.
    """
    fitter = fitter_of(objects, version, combination, accuracy)
    fitter.check(combination, least)
    steps = fitter.steps()
    before, after = fitter.counts()
    task = fitter.holdout.task
    return Fitted(
        ensemble=version.name,
        version=version.version,
        dataset=version.dataset,
        task=version.document["task"],
        combination=combination,
        products=len(before),
        undecodable=fitter.undecodable,
        steps=steps,
        left_out=fitter.left_out(),
        unfitted=task.figure(before),
        fitted=task.figure(after),
        difference=task.gain(before, after),
        decided=fitter.decided(),
        told=fitter.told(),
        macro=fitter.macro(),
        without_positives=fitter.without_positives(),
        fit=fitter.fit(-1),
    )


def fitter_of(objects: Objects, version: EnsembleVersion, combination: str, accuracy: float) -> Fitter:
    """What fits a combination by the task of its ensemble. Raises as `fit`."""
    ensemble = from_plain(version.document)
    missing = [name for name in ensemble.views if name not in VIEWS]
    if missing:
        reason = f"no holdout scores are stored of view {', '.join(missing)}"
        raise BadInputError(f"ensemble {version.name}", reason, remedy=f"use views among {', '.join(VIEWS)}")
    members = ensemble.combinations[combination]
    shared = held_out_by(objects, version, members)
    holdout = Holdout(objects, version, shared, members)
    mix = Mix(members, ensemble.views, ensemble.means)
    if ensemble.task == "multilabel":
        return LabelFitter(holdout, mix)
    return CategoryFitter(holdout, mix, (ensemble.image_duplicates, ensemble.product_duplicates), accuracy)
