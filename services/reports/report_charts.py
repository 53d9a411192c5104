"""The plots and bars of an evaluation's page."""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from services.reports import charts, pages
from services.reports.charts import Bar, Series
from services.reports.confidence import Calibration, Coverage
from services.reports.evaluation import Detail, Evaluation
from services.reports.provenance import Epoch, MemberAccount
from services.reports.quality import Quality
from services.reports.task import Category

_STEADY = 10  # accuracy among fewer accepted products jumps about and is not drawn


def categories(shown: Iterable[Category], task: str) -> Markup:
    """The share of each category's products that were put into it, or each label's F1."""
    return charts.bars([_label(one) if task == "multilabel" else _category(one) for one in shown], whole=1.0)


def _category(one: Category) -> Bar:
    recall = one.recall
    words = f"{round(recall.share * recall.n):,} of {recall.n:,}"
    return Bar(one.path[-1], recall.share, words, recall.low, recall.high)


def _label(one: Category) -> Bar:
    return Bar(" / ".join(one.path), one.f1.mean, f"{one.f1.mean:.2f}, n = {one.recall.n:,}", one.f1.low, one.f1.high)


def levels(found: Evaluation) -> Markup | None:
    """The default combination, per level of the tree."""
    quality = found.default.quality_with_duplicates or found.default.quality_without_duplicates
    if not isinstance(quality, Quality):
        return None
    return charts.bars(
        [
            Bar(
                f"Level {number}",
                level.share,
                f"{pages.percent(level.share)} ({100 * level.low:.1f}-{100 * level.high:.1f} %)",
                level.low,
                level.high,
            )
            for number, level in enumerate(quality.levels, 1)
        ],
        whole=1.0,
    )


def _names(detail: Detail) -> tuple[str, str]:
    return ("with duplicates" if detail.with_duplicates else "without duplicates"), "networks alone"


def coverage(detail: Detail, things: str) -> Markup | None:
    """Accuracy among the surest of these things; None where there are no answers."""
    drawn = [
        _coverage_series(name, one)
        for name, one in zip(_names(detail), (detail.coverage, detail.coverage_without_duplicates), strict=True)
        if one and one.curve
    ]
    if not drawn:
        return None
    return charts.plot(
        drawn,
        title="Accuracy of the surest answers",
        x=f"share of {things} accepted",
        y="accuracy among them",
        x_percent=True,
        y_percent=True,
    )


def _coverage_series(name: str, coverage: Coverage) -> Series:
    steady = [one for one in coverage.curve if one.accuracy.n >= _STEADY] or list(coverage.curve)
    return Series(
        name,
        [one.coverage for one in steady],
        [one.accuracy.share for one in steady],
        [one.accuracy.low for one in steady],
        [one.accuracy.high for one in steady],
    )


def calibration(detail: Detail) -> Markup | None:
    """The reliability diagram; None where there are no answers."""
    drawn = [
        _calibration_series(name, one)
        for name, one in zip(_names(detail), (detail.calibration, detail.calibration_without_duplicates), strict=True)
        if one
    ]
    if not drawn:
        return None
    return charts.plot(
        drawn,
        title="Is a probability what it says?",
        x="mean probability of a bin",
        y="share of right answers",
        diagonal=True,
        x_percent=True,
        y_percent=True,
    )


def _calibration_series(name: str, calibration: Calibration) -> Series:
    bins = calibration.bins
    return Series(
        name,
        [one.probability for one in bins],
        [one.accuracy.share for one in bins],
        [one.accuracy.low for one in bins],
        [one.accuracy.high for one in bins],
        kind="points",
    )


_CURVES: Mapping[str, Mapping[str, str]] = {
    "Loss": {"training images": "loss", "watched images": "watch_loss"},
    "Accuracy": {"training images": "accuracy", "watched products": "watch_accuracy"},
}
_LABEL_CURVES: Mapping[str, Mapping[str, str]] = {
    "Loss": _CURVES["Loss"],
    "Micro F1 of watched products": {"watched products": "watch_f1"},
    "Exactly right": _CURVES["Accuracy"],
}


def training(member: MemberAccount) -> list[Markup]:
    """Loss, accuracy and of label sets F1 by epoch; nothing where the log of an old run is gone."""
    drawn = []
    sets = any(epoch.watch_f1 is not None for epoch in member.epochs)
    for title, lines in (_LABEL_CURVES if sets else _CURVES).items():
        series = [one for name, key in lines.items() if (one := _curve(name, key, member.epochs)).x]
        if series:
            shares = title in ("Accuracy", "Exactly right")
            drawn.append(charts.plot(series, title=title, x="epoch", y=title[0].lower() + title[1:], y_percent=shares))
    return drawn


def _curve(name: str, key: str, epochs: Iterable[Epoch]) -> Series:
    known = [(one.epoch, getattr(one, key)) for one in epochs if getattr(one, key) is not None]
    return Series(name, [epoch for epoch, _ in known], [value for _, value in known])
