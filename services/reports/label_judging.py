"""Judging a scoring job by known label sets: what each product was answered, and the figures that come of it."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.reports.answers import NO_ANSWER, SOURCES, Bool, Int8, Int64, labelled
from services.reports.evaluation import CombinationFigures, LabelQuality, LabelScores
from services.reports.seen import Seen
from shared.domain import intervals, label_figures, label_sets
from shared.domain.label_sets import LabelSets
from shared.domain.records import Outcome
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels

_BLOCK = 4096  # products whose labels are spread out at once


@dataclass(frozen=True, slots=True, eq=False)
class LabelAnswers:
    """What one combination says of n products: the labels of product i are `label[start[i]:start[i + 1]]`."""

    start: Int64  # int64[n + 1]
    label: Int64
    first: Int64  # int64[n], the most probable label, NO_ANSWER where there is none

    def dense(self, rows: Int64, labels: int) -> Bool:
        """Which labels are answered: bool[len(rows), labels]."""
        found = np.zeros((len(rows), labels), dtype=np.bool_)
        for place, row in enumerate(rows.tolist()):
            found[place, self.label[self.start[row] : self.start[row + 1]]] = True
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LabelJudged:
    """n labelled products of a job by position; as `services.reports.answers.Judged`."""

    product_id: Int64
    label: Int64  # int64[n], the row of the labels that names the product
    known: Int64  # int64[n], rows of `sets`
    sets: LabelSets
    source: Int8
    with_duplicates: Mapping[str, LabelAnswers]
    without_duplicates: Mapping[str, LabelAnswers]

    def __len__(self) -> int:
        return len(self.product_id)


class _Columns:
    """The growing answers of one combination."""

    def __init__(self) -> None:
        self.length, self.label, self.first = array("q"), array("q"), array("q")

    def add(self, prediction: Mapping[str, list[tuple[int, float]]] | None) -> None:
        labels = [] if prediction is None else [index for index, _ in prediction["labels"]]
        self.length.append(len(labels))
        self.label.extend(labels)
        self.first.append(NO_ANSWER if prediction is None else prediction["top"][0][0])

    def answers(self) -> LabelAnswers:
        start = np.append(0, np.cumsum(np.array(self.length, dtype=np.int64)))
        return LabelAnswers(start, np.array(self.label, dtype=np.int64), np.array(self.first, dtype=np.int64))


def collect(
    outcomes: Iterable[Outcome], labels: Labels, taxonomy: Taxonomy, combinations: Sequence[str], *, alone: bool
) -> LabelJudged:
    """The outcomes (by position) of labelled products; `alone`: also what the networks say without duplicates."""
    sets = label_sets.build(label_sets.merge([labels.sets]), taxonomy)
    known = sets.index_of(labels.category_id)
    places, sources = array("q"), array("b")
    both, single = ({name: _Columns() for name in names} for names in (combinations, combinations if alone else ()))
    for outcome, place in labelled(outcomes, labels):
        places.append(place)
        sources.append(NO_ANSWER if outcome.error else SOURCES.index(outcome.source))
        for columns, predictions in ((both, outcome.predictions), (single, outcome.model_only)):
            for name, column in columns.items():
                column.add(predictions.get(name))
    label = np.array(places, dtype=np.int64)
    return LabelJudged(
        product_id=labels.product_id[label],
        label=label,
        known=known[label],
        sets=sets,
        source=np.array(sources, dtype=np.int8),
        with_duplicates={name: columns.answers() for name, columns in both.items()},
        without_duplicates={name: columns.answers() for name, columns in single.items()},
    )


def combination(name: str, judged: LabelJudged, seen: Seen) -> CombinationFigures:
    """The figures of one combination."""
    both = _judge(judged, judged.with_duplicates[name], ~seen.shared)
    single = None
    if name in judged.without_duplicates:
        single = _judge(judged, judged.without_duplicates[name], ~seen.trained[name])
    return CombinationFigures(
        combination=name,
        trained=int(seen.trained[name].sum()),
        with_duplicates=both.accuracy if both else None,
        without_duplicates=single.accuracy if single else None,
        quality_with_duplicates=both,
        quality_without_duplicates=single,
    )


def _judge(judged: LabelJudged, answers: LabelAnswers, which: Bool) -> LabelQuality | None:
    """The figures of the products where `which` holds; an error answers no label. None without any."""
    rows = np.flatnonzero(which)
    if not len(rows):
        return None
    labels = judged.sets.labels
    by_label = np.zeros((3, labels), dtype=np.int64)
    by_product = np.zeros((len(rows), 3), dtype=np.int64)
    exact = np.zeros(len(rows), dtype=np.bool_)
    first = np.zeros(len(rows), dtype=np.bool_)
    for begin in range(0, len(rows), _BLOCK):
        some = rows[begin : begin + _BLOCK]
        mine = slice(begin, begin + len(some))
        said, known = answers.dense(some, labels), judged.sets.dense(judged.known[some]) > 0
        by_label += label_figures.counts(said, known)
        by_product[mine] = label_figures.counts(said.T, known.T).T
        answered = judged.source[some] != NO_ANSWER
        exact[mine] = answered & (said == known).all(axis=1)
        first[mine] = answered & known[np.arange(len(some)), np.maximum(answers.first[some], 0)]
    n = len(rows)
    return LabelQuality(
        accuracy=intervals.accuracy(int(exact.sum()), n),
        first=intervals.accuracy(int(first.sum()), n),
        micro=LabelScores(**label_figures.micro(by_label), labels=labels, n=n),
        micro_f1=label_figures.f1_average(by_product),
        macro=LabelScores(**label_figures.macro(by_label), labels=int((by_label[0] + by_label[2] > 0).sum()), n=n),
    )
