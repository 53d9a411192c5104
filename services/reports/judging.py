"""Judging a scoring job by known categories: from outcomes and labels to the figures of an `Evaluation`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from services.reports import confidence, kept, provenance
from services.reports.answers import NO_ANSWER, SOURCES, Bool, Float32, Float64, Int8, Int64, Judged, collect
from services.reports.evaluation import (
    CombinationFigures,
    DecisionFigures,
    Detail,
    Evaluation,
    Mistake,
    Pair,
    SourceFigures,
)
from services.reports.seen import Seen, compare
from services.reports.task import Task
from services.reports.tasks import task_of
from shared.domain import intervals, label_sets
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.errors import BadInputError
from shared.domain.fits import DECISIONS
from shared.domain.records import EnsembleVersion, Job
from shared.domain.taxonomy import Taxonomy
from shared.exports import stored_outcomes
from shared.labels import Labels
from shared.packs import read_taxonomy
from shared.ports import Jobs, Objects

PAIRS = 8
MISTAKES = 12


def evaluate(objects: Objects, jobs: Jobs, job: Job, version: EnsembleVersion, labels: Labels) -> Evaluation:
    """Judge `job` by `labels`; a product with an error counts as wrong.

    Products that are in the ensemble's training dataset too are judged only where every member of a combination held
    them out, and without duplicates, because the version's duplicate table knows their labels. Raises BadInputError
    where nothing can be judged.
    """
    ensemble = from_plain(version.document)
    taxonomy = read_taxonomy(objects, version.dataset)
    alone = not job.options.skip_decided
    task, default = _task(ensemble, taxonomy, labels), ensemble.default_combination
    outcomes = stored_outcomes(jobs, job.id)
    judged = collect(outcomes, labels, task.known(labels), list(ensemble.combinations), task.columns, alone=alone)
    if not len(judged):
        raise _nothing(jobs, job)
    seen = compare(objects, job, version, ensemble, labels.product_id).take(judged.label)
    if seen.shared.all() and not alone:
        reason = "its labelled products are those of the training dataset, and decided ones skipped the networks"
        raise BadInputError(f"job {job.id}", reason, remedy="score --no-skip-decided")
    used = ~seen.shared | np.logical_or.reduce([alone & ~trained for trained in seen.trained.values()])
    heeded = (job.options.image_duplicates, job.options.product_duplicates) != ("none", "none")

    def combination(name: str) -> CombinationFigures:
        scores = kept.scores(objects, jobs, job, name, judged.product_id, taxonomy.classes)
        return _combination(task, name, judged, seen, scores, None if heeded else scores)

    return Evaluation(
        job=job.id,
        dataset=job.dataset,
        ensemble=version.name,
        version=version.version,
        task=ensemble.task,
        created=job.created,
        ended=job.ended,
        state=job.state,
        products=job.products,
        labels=len(labels),
        unknown=len(labels) - len(judged),
        judged=int(used.sum()),
        errors=int((used & (judged.source == NO_ANSWER)).sum()),
        shared=int(seen.shared.sum()),
        training_dataset=version.dataset,
        skipped_decided=not alone,
        own_dataset=job.dataset_fingerprint == version.dataset_fingerprint,
        combinations=tuple(combination(name) for name in ensemble.combinations),
        detail=_detail(task, default, judged, seen, version.fits.get(default, {})),
        members=provenance.members(objects, version, ensemble),
        timings=provenance.timings(jobs, job),
    )


def _task(ensemble: Ensemble, taxonomy: Taxonomy, labels: Labels) -> Task[Any, Any]:
    sets = label_sets.build(label_sets.merge([labels.sets]), taxonomy) if ensemble.task == "multilabel" else taxonomy
    return task_of(taxonomy, sets)


def _nothing(jobs: Jobs, job: Job) -> BadInputError:
    if not jobs.count_outcomes(job.id):
        return BadInputError(f"job {job.id}", f"it is {job.state} and has no answers", remedy="score again")
    return BadInputError("--labels", "none of its products is in this job", remedy="name the labels of this dataset")


def _combination(
    task: Task[Any, Any], name: str, judged: Judged[Any], seen: Seen, scores: Float32 | None, alone: Float32 | None
) -> CombinationFigures:
    """`scores` are those with duplicates, `alone` those without, where kept."""
    both = _quality(task, judged, judged.with_duplicates[name], ~seen.shared, scores)
    single = None
    if name in judged.without_duplicates:
        single = _quality(task, judged, judged.without_duplicates[name], ~seen.trained[name], alone)
    return CombinationFigures(
        combination=name,
        trained=int(seen.trained[name].sum()),
        with_duplicates=both.accuracy if both else None,
        without_duplicates=single.accuracy if single else None,
        quality_with_duplicates=both,
        quality_without_duplicates=single,
    )


def _quality(task: Task[Any, Any], judged: Judged[Any], answers: Any, which: Bool, scores: Float32 | None) -> Any:
    rows = np.flatnonzero(which)
    return task.quality(judged.known[rows], answers.take(rows), None if scores is None else scores[rows])


def _detail(task: Task[Any, Any], name: str, judged: Judged[Any], seen: Seen, fit: Mapping[str, Any]) -> Detail | None:
    new, unseen = ~seen.shared, ~seen.trained[name]
    both = bool(new.any())
    rows = np.flatnonzero(new if both else unseen)
    if not len(rows):
        return None
    told = judged.with_duplicates if both else judged.without_duplicates
    answers, known = told[name].take(rows), judged.known[rows]
    alone = judged.without_duplicates[name].take(rows) if both and name in judged.without_duplicates else None
    sure, sure_alone = task.sure(known, answers), None if alone is None else task.sure(known, alone)
    wrong, category_ids = task.mistakes(known, answers), task.taxonomy.category_ids.tolist()
    source = judged.source[rows] if both else np.zeros(len(rows), dtype=np.int8)

    def mistake(place: int) -> Mistake:
        row = int(wrong.row[place])
        return Mistake(
            product=int(judged.product_id[rows[row]]),
            known=task.names(int(known[row])),
            said=category_ids[wrong.said[place]],
            probability=float(wrong.probability[place]),
            source=SOURCES[source[row]],
        )

    return Detail(
        combination=name,
        with_duplicates=both,
        n=len(rows),
        sources=tuple(_sources(task, source, known, answers, alone)) if both else (),
        decisions=tuple(_decisions(source, *task.decided(known, answers))) if both else (),
        coverage=confidence.coverage(*sure),
        coverage_without_duplicates=confidence.coverage(*sure_alone) if sure_alone else None,
        calibration=_calibration(*sure),
        calibration_without_duplicates=_calibration(*sure_alone) if sure_alone else None,
        categories=task.categories(known, answers),
        pairs=tuple(
            Pair(category_ids[one.known], category_ids[one.said], one.count, mistake(one.surest))
            for one in task.confusions(known, wrong, PAIRS)
        ),
        mistakes=tuple(map(mistake, range(min(MISTAKES, len(wrong.row))))),
        thresholds=task.thresholds(known, answers, fit),
    )


def _calibration(probability: Float64, right: Bool, answered: Bool) -> confidence.Calibration | None:
    return confidence.calibration(probability[answered], right[answered])


def _sources(task: Task[Any, Any], source: Int8, known: Int64, answers: Any, alone: Any) -> Iterator[SourceFigures]:
    right, network = task.right(known, answers), None if alone is None else task.right(known, alone)
    for code, name in (*enumerate(SOURCES), (NO_ANSWER, "error")):
        mine = source == code
        if mine.any():
            yield SourceFigures(
                source=name,
                coverage=_share(mine),
                accuracy=_share(right[mine]),
                network=None if network is None else _share(network[mine]),
            )


def _decisions(source: Int8, decided: Int8, right: Bool) -> Iterator[DecisionFigures]:
    """Of all products first, those with an error too, then by source; a decision that none got is left out."""
    for name, mine in (("", source >= NO_ANSWER), *((name, source == code) for code, name in enumerate(SOURCES))):
        for place, decision in enumerate(DECISIONS):
            these = decided[mine] == place
            if these.any():
                yield DecisionFigures(decision, name, share=_share(these), right=_share(right[mine][these]))


def _share(of: Bool) -> intervals.Accuracy:
    return intervals.accuracy(int(of.sum()), len(of))
