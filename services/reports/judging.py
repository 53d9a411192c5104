"""Judging a scoring job by known categories: from outcomes and labels to the figures of an `Evaluation`."""

from collections.abc import Iterator

import numpy as np

from services.reports import confidence, label_judging, provenance, quality
from services.reports.answers import NO_ANSWER, SOURCES, Answers, Bool, Int8, Int32, Int64, Judged, collect
from services.reports.confidence import Coverage
from services.reports.evaluation import CombinationFigures, Detail, Evaluation, Mistake, Pair, SourceFigures
from services.reports.label_judging import LabelJudged
from services.reports.seen import Seen, compare
from shared.domain import intervals
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError
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
    of_labels = ensemble.task == "multilabel"
    collected = label_judging.collect if of_labels else collect
    judged = collected(stored_outcomes(jobs, job.id), labels, taxonomy, list(ensemble.combinations), alone=alone)
    if not len(judged):
        raise _nothing(jobs, job)
    seen = compare(objects, job, version, ensemble, labels.product_id).take(judged.label)
    if seen.shared.all() and not alone:
        reason = "its labelled products are those of the training dataset, and decided ones skipped the networks"
        raise BadInputError(f"job {job.id}", reason, remedy="score --no-skip-decided")
    used = ~seen.shared | np.logical_or.reduce([alone & ~trained for trained in seen.trained.values()])
    return Evaluation(
        job=job.id,
        dataset=job.dataset,
        ensemble=version.name,
        version=version.version,
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
        combinations=tuple(_combination(name, judged, seen, taxonomy) for name in ensemble.combinations),
        detail=None
        if isinstance(judged, LabelJudged)
        else _detail(ensemble.default_combination, judged, seen, taxonomy),
        members=provenance.members(objects, version, ensemble),
        timings=provenance.timings(jobs, job),
    )


def _nothing(jobs: Jobs, job: Job) -> BadInputError:
    if not jobs.count_outcomes(job.id):
        return BadInputError(f"job {job.id}", f"it is {job.state} and has no answers", remedy="score again")
    return BadInputError("--labels", "none of its products is in this job", remedy="name the labels of this dataset")


def _combination(name: str, judged: Judged | LabelJudged, seen: Seen, taxonomy: Taxonomy) -> CombinationFigures:
    if isinstance(judged, LabelJudged):
        return label_judging.combination(name, judged, seen)
    new, unseen = ~seen.shared, ~seen.trained[name]
    both = quality.judge(taxonomy, judged.known[new], judged.with_duplicates[name].take(new))
    single = None
    if name in judged.without_duplicates:
        single = quality.judge(taxonomy, judged.known[unseen], judged.without_duplicates[name].take(unseen))
    return CombinationFigures(
        combination=name,
        trained=int(seen.trained[name].sum()),
        with_duplicates=both.accuracy if both else None,
        without_duplicates=single.accuracy if single else None,
        quality_with_duplicates=both,
        quality_without_duplicates=single,
    )


def _detail(name: str, judged: Judged, seen: Seen, taxonomy: Taxonomy) -> Detail | None:
    new, unseen = ~seen.shared, ~seen.trained[name]
    both = bool(new.any())
    rows = np.flatnonzero(new if both else unseen)
    if not len(rows):
        return None
    told = judged.with_duplicates if both else judged.without_duplicates
    answers, known = told[name].take(rows), judged.known[rows]
    alone = judged.without_duplicates[name].take(rows) if both and name in judged.without_duplicates else None
    mistakes = _Mistakes(judged, rows, known, answers, taxonomy, both)
    return Detail(
        combination=name,
        with_duplicates=both,
        n=len(rows),
        sources=tuple(_sources(judged.source[rows], known, answers, alone)) if both else (),
        coverage=_coverage(known, answers),
        coverage_without_duplicates=_coverage(known, alone) if alone else None,
        calibration=_calibration(known, answers),
        calibration_without_duplicates=_calibration(known, alone) if alone else None,
        categories=quality.categories(taxonomy, known, answers.class_index),
        pairs=tuple(mistakes.pairs()),
        mistakes=tuple(mistakes.surest()),
    )


def _coverage(known: Int32, answers: Answers) -> Coverage:
    return confidence.coverage(answers.probability, answers.class_index == known, answers.class_index != NO_ANSWER)


def _calibration(known: Int32, answers: Answers) -> confidence.Calibration | None:
    answered = answers.class_index != NO_ANSWER
    return confidence.calibration(answers.probability[answered], (answers.class_index == known)[answered])


def _sources(source: Int8, known: Int32, answers: Answers, alone: Answers | None) -> Iterator[SourceFigures]:
    for code, name in (*enumerate(SOURCES), (NO_ANSWER, "error")):
        mine = source == code
        n = int(mine.sum())
        if n:
            yield SourceFigures(
                source=name,
                coverage=intervals.accuracy(n, len(source)),
                accuracy=_accuracy(known, answers, mine),
                network=None if alone is None else _accuracy(known, alone, mine),
            )


def _accuracy(known: Int32, answers: Answers, mine: Bool) -> intervals.Accuracy:
    return intervals.accuracy(int((mine & (answers.class_index == known)).sum()), int(mine.sum()))


class _Mistakes:
    """The wrong answers among some rows of the judged products."""

    def __init__(
        self, judged: Judged, rows: Int64, known: Int32, answers: Answers, taxonomy: Taxonomy, both: bool
    ) -> None:
        self._product_id = judged.product_id[rows]
        self._source = judged.source[rows] if both else np.zeros(len(rows), dtype=np.int8)
        self._known = known
        self._answers = answers
        self._category_ids = taxonomy.category_ids.tolist()

    def surest(self) -> list[Mistake]:
        """The most certain ones."""
        return [self._at(int(row)) for row in quality.mistakes(self._known, self._answers)[:MISTAKES]]

    def pairs(self) -> list[Pair]:
        """The pairs of categories that are mixed up most often."""
        return [
            Pair(self._category_ids[one.known], self._category_ids[one.said], one.count, self._at(one.surest))
            for one in quality.confusions(self._known, self._answers, PAIRS)
        ]

    def _at(self, row: int) -> Mistake:
        return Mistake(
            product=int(self._product_id[row]),
            known=self._category_ids[self._known[row]],
            said=self._category_ids[self._answers.class_index[row]],
            probability=float(self._answers.probability[row]),
            source=SOURCES[self._source[row]],
        )
