"""Comparing what an ensemble could do: members, combinations, duplicates, views and means, judged on stored holdout
scores of the products that every member held out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.holdout import Holdout, held_out_by
from services.reports.ways import Way, judge
from shared.domain import intervals
from shared.domain.ensemble import Ensemble, ImagePolicy, Mean, Means, ProductPolicy, from_plain
from shared.domain.errors import BadInputError
from shared.domain.intervals import Accuracy
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS
from shared.ports import Objects

IMAGE_POLICIES: tuple[ImagePolicy, ...] = ("none", "unique", "majority", "l1", "l2", "softmax")
MEANS = {"arithmetic": 1.0, "of square roots": 0.5, "geometric": 0.0, "harmonic": -1.0}
_RESAMPLES = 10_000

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better than the reference on the same products, with its 95 % interval (bootstrap over products)."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to answer: over all products, those new to training, and those that share an image with it."""

    name: str
    all: Accuracy
    new: Accuracy
    seen: Accuracy
    difference: Difference | None  # None: it is the reference itself


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that differ in one thing."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tables of one ensemble version, and what every row is measured against."""

    ensemble: str
    version: str
    dataset: str
    combination: str
    reference: str
    products: int
    undecodable: int  # products of which no image could be decoded; in no figure
    tables: tuple[Table, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self),
            "tables": [{"title": t.title, "rows": [_plain(r) for r in t.rows]} for t in self.tables],
        }

    def lines(self) -> Iterator[list[str]]:
        """As rows of a CSV, its header first."""
        groups = [f"{name}{part}" for part in ("", "_new", "_seen") for name in ("n", "accuracy", "low", "high")]
        yield ["table", "row", *groups, "difference", "difference_low", "difference_high"]
        for table in self.tables:
            for row in table.rows:
                figures = [cell for one in (row.all, row.new, row.seen) for cell in _cells(one)]
                gain = row.difference
                yield [table.title, row.name, *figures, *(_six(gain) if gain else ["", "", ""])]


def _plain(row: Row) -> dict[str, Any]:
    gain = asdict(row.difference) if row.difference else None
    parts = {"all": row.all, "new": row.new, "seen": row.seen}
    return {"name": row.name, **{name: part.plain() for name, part in parts.items()}, "difference": gain}


def _cells(figure: Accuracy) -> list[str]:
    return [str(figure.n), *(f"{value:.6f}" if figure.n else "" for value in (figure.share, figure.low, figure.high))]


def _six(gain: Difference) -> list[str]:
    return [f"{value:.6f}" for value in (gain.share, gain.low, gain.high)]


def compare(objects: Objects, version: EnsembleVersion, combination: str = "") -> Comparison:
    """Judge every way on the products that all members of `combination` (default: the file's) held out.

    A member that sees some products only is judged on those alone, and so is its difference from the reference.
    The duplicates are those of the training part of the first member's split. Raises BadInputError where there are no
    scores or no such products, NotFoundError where the dataset is gone.
    """
    ensemble = from_plain(version.document)
    if ensemble.task == "multilabel":
        reason = "compare is of one category per product"
        raise BadInputError(f"ensemble {version.name}", reason, remedy="see `shelver evaluate` and `shelver fit`")
    combination = combination or ensemble.default_combination
    members = ensemble.combinations[combination]
    shared = held_out_by(objects, version, members)
    reference = Way(members, _views(ensemble), ensemble.means, ensemble.image_duplicates, ensemble.product_duplicates)
    plan = list(_tables(ensemble, combination, reference))
    ways: list[Way] = []
    for way in [reference, *(way for _, rows in plan for _, way in rows)]:
        if way not in ways:
            ways.append(way)
    right, judged = judge(Holdout(objects, version, shared, members), len(shared.product_id), ways)
    figures = [_figures(one[rows], shared.seen[rows]) for one, rows in zip(right, judged, strict=True)]
    gains = [_difference(one[rows], right[0][rows]) for one, rows in zip(right, judged, strict=True)]
    return Comparison(
        ensemble=version.name,
        version=version.version,
        dataset=version.dataset,
        combination=combination,
        reference=_words(reference),
        products=int(judged[0].sum()),
        undecodable=int((~judged[0]).sum()),
        tables=tuple(
            Table(title, tuple(_row(name, ways.index(way), figures, gains) for name, way in rows))
            for title, rows in plan
        ),
    )


def _views(ensemble: Ensemble) -> tuple[str, ...]:
    return tuple(name for name in ensemble.views if name in VIEWS) or VIEWS[:1]


def _words(way: Way) -> str:
    return f"{', '.join(way.members)}; views {', '.join(way.views)}; duplicates {way.images},{way.products}"


def _tables(ensemble: Ensemble, combination: str, full: Way) -> Iterator[tuple[str, list[tuple[str, Way]]]]:
    alone = replace(full, images="none", products="none")
    by_images = replace(full, products="none")
    yield "as the file says", [(combination, full)]
    yield "members, networks alone", [(name, replace(alone, members=(name,))) for name in full.members]
    yield "members, with image duplicates", [(name, replace(by_images, members=(name,))) for name in full.members]
    inside = {
        name: replace(full, members=members)
        for name, members in ensemble.combinations.items()
        if set(members) <= set(full.members)
    }
    yield (
        "combinations",
        [
            (f"{name}, {words}", replace(way, images=images, products=products))
            for name, way in inside.items()
            for words, images, products in _steps(full)
        ],
    )
    for words, mean in (("as in the file", full.means), ("all geometric", _all(full.means, 0.0))):
        yield (
            f"image duplicates of {combination}, means {words}",
            [(policy, replace(by_images, means=mean, images=policy)) for policy in IMAGE_POLICIES],
        )
    some = [full.views] if len(full.views) == 1 else [*[(name,) for name in full.views], full.views]
    yield f"views of {combination}, networks alone", [(" + ".join(v), replace(alone, views=v)) for v in some]
    yield (
        f"means of {combination}, networks alone",
        [
            (f"{axis}: {name}", replace(alone, means=replace(full.means, **{axis: Mean(power=power)})))  # type: ignore[arg-type]  # it is one of the three
            for axis in ("views", "members", "images")
            for name, power in MEANS.items()
        ]
        + [("members: plurality", replace(alone, means=replace(full.means, members=Mean(votes=True))))],
    )


def _steps(full: Way) -> list[tuple[str, ImagePolicy, ProductPolicy]]:
    """Without duplicates, with those of images, and with those of products too."""
    images: ImagePolicy = full.images if full.images != "none" else "unique"
    products: ProductPolicy = full.products if full.products != "none" else "unique"
    return [
        ("networks alone", "none", "none"),
        ("image duplicates", images, "none"),
        ("image and product duplicates", images, products),
    ]


def _all(given: Means, power: float) -> Means:
    mean = Mean(power=power)
    return replace(given, views=mean, members=mean, images=mean)


def _figures(right: Bool, seen: Bool) -> tuple[Accuracy, Accuracy, Accuracy]:
    parts = (right, right[~seen], right[seen])
    whole, new, known = (intervals.accuracy(int(part.sum()), len(part)) for part in parts)
    return whole, new, known


def _row(
    name: str, place: int, figures: Sequence[tuple[Accuracy, Accuracy, Accuracy]], gains: Sequence[Difference]
) -> Row:
    return Row(name, *figures[place], difference=gains[place] if place else None)


def _difference(right: Bool, reference: Bool) -> Difference:
    """Paired: products are drawn again and again, each with what both ways made of it."""
    n = len(right)
    better, worse = int((right & ~reference).sum()), int((reference & ~right).sum())
    if not n:
        return Difference(0.0, 0.0, 0.0)
    shares = np.array([better, worse, n - better - worse]) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, size=_RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975])
    return Difference((better - worse) / n, float(low), float(high))
