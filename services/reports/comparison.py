"""Comparing what an ensemble could do: members, combinations, duplicates, views and means, judged on stored holdout
scores of the products that every member held out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from services.reports.fitting import fitter_of
from services.reports.holdout import Holdout, held_out_by
from services.reports.task import Figure
from services.reports.ways import Way, judge
from shared.domain.ensemble import ONE_CATEGORY_POLICIES, Ensemble, ImagePolicy, Mean, Means, ProductPolicy, from_plain
from shared.domain.intervals import Accuracy, Average
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS
from shared.ports import Objects

IMAGE_POLICIES: tuple[ImagePolicy, ...] = ("none", "unique", "majority", "l1", "l2", "softmax")
PRODUCT_POLICIES: tuple[ProductPolicy, ...] = ("none", "unique", "majority")
BEST_FIRST = ", best first"
FITS = "fits, each product by one that has not seen it"
MEANS = {"arithmetic": 1.0, "of square roots": 0.5, "geometric": 0.0, "harmonic": -1.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One way to answer: over all products, those new to training, and those that share an image with it."""

    name: str
    all: Figure
    new: Figure
    seen: Figure
    difference: Average | None  # how much better than the reference, paired; None: it is the reference itself


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
    task: str
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
        figure = "micro_f1" if self.task == "multilabel" else "accuracy"
        groups = [f"{name}{part}" for part in ("", "_new", "_seen") for name in ("n", figure, "low", "high")]
        yield ["table", "row", *groups, "difference", "difference_low", "difference_high"]
        for table in self.tables:
            for row in table.rows:
                figures = [cell for one in (row.all, row.new, row.seen) for cell in _cells(one)]
                gain = _cells(row.difference)[1:] if row.difference else ["", "", ""]
                yield [table.title, row.name, *figures, *gain]


def _plain(row: Row) -> dict[str, Any]:
    gain = row.difference.plain() if row.difference else None
    parts = {"all": row.all, "new": row.new, "seen": row.seen}
    return {"name": row.name, **{name: part.plain() for name, part in parts.items()}, "difference": gain}


def _cells(figure: Figure) -> list[str]:
    values = (_value(figure), figure.low, figure.high)
    return [str(figure.n), *(f"{value:.6f}" if figure.n else "" for value in values)]


def _value(figure: Figure) -> float:
    return figure.share if isinstance(figure, Accuracy) else figure.mean


def _ranked(title: str, rows: Sequence[Row]) -> Table:
    """The best one first, where the title says so; of equal ones the first."""
    best_first = title.endswith(BEST_FIRST)
    return Table(title, tuple(sorted(rows, key=lambda row: -_value(row.all)) if best_first else rows))


def compare(objects: Objects, version: EnsembleVersion, combination: str = "") -> Comparison:
    """Judge every way on the products that all members of `combination` (default: the file's) held out.

    Combinations that were fitted are judged with their fits, too: each product by one that was not fitted on it.
    A member that sees some products only is judged on those alone, and so is its difference from the reference.
    The duplicates are those of the training part of the first member's split. Raises BadInputError where there are no
    scores or no such products, NotFoundError where the dataset is gone.
    """
    ensemble = from_plain(version.document)
    combination = combination or ensemble.default_combination
    members = ensemble.combinations[combination]
    shared = held_out_by(objects, version, members)
    reference = Way(members, _views(ensemble), ensemble.means, ensemble.image_duplicates, ensemble.product_duplicates)
    holdout = Holdout(objects, version, shared, members)
    plan = list(_tables(ensemble, combination, reference))
    fitted = {name: way for name, way in _inside(ensemble, reference).items() if name in version.fits}
    if fitted:
        plan.append((FITS, list(_fits(objects, version, holdout, fitted))))
    ways: list[Way] = []
    for way in [reference, *(way for _, rows in plan for _, way in rows)]:
        if way not in ways:
            ways.append(way)
    counts, judged = judge(holdout, len(shared.product_id), ways)
    parts = [(rows, rows & ~shared.seen, rows & shared.seen) for rows in judged]
    figures = [[holdout.task.figure(of[rows]) for rows in some] for of, some in zip(counts, parts, strict=True)]
    gains = [holdout.task.gain(counts[0][rows], of[rows]) for of, rows in zip(counts, judged, strict=True)]

    def row(name: str, way: Way) -> Row:
        place = ways.index(way)
        every, new, seen = figures[place]
        return Row(name, every, new, seen, difference=gains[place] if place else None)

    return Comparison(
        ensemble=version.name,
        version=version.version,
        dataset=version.dataset,
        task=ensemble.task,
        combination=combination,
        reference=_words(reference),
        products=int(judged[0].sum()),
        undecodable=int((~judged[0]).sum()),
        tables=tuple(_ranked(title, [row(name, way) for name, way in rows]) for title, rows in plan),
    )


def _views(ensemble: Ensemble) -> tuple[str, ...]:
    return tuple(name for name in ensemble.views if name in VIEWS) or VIEWS[:1]


def _words(way: Way) -> str:
    return f"{', '.join(way.members)}; views {', '.join(way.views)}; duplicates {way.images},{way.products}"


def _tables(ensemble: Ensemble, combination: str, full: Way) -> Iterator[tuple[str, list[tuple[str, Way]]]]:
    alone = replace(full, images="none", products="none")
    by_images = replace(full, products="none")
    sets = ensemble.task == "multilabel"
    policies = [policy for policy in IMAGE_POLICIES if not (sets and policy in ONE_CATEGORY_POLICIES)]
    plurality = replace(alone, means=replace(full.means, members=Mean(votes=True)))
    yield "as the file says", [(combination, full)]
    yield "members, networks alone", [(name, replace(alone, members=(name,))) for name in full.members]
    yield "members, with image duplicates", [(name, replace(by_images, members=(name,))) for name in full.members]
    yield (
        "combinations",
        [
            (f"{name}, {words}", replace(way, images=images, products=products))
            for name, way in _inside(ensemble, full).items()
            for words, images, products in _steps(full)
        ],
    )
    yield (
        "combinations, networks alone, all means geometric",
        [
            (name, replace(way, images="none", products="none", means=_all(full.means, 0.0)))
            for name, way in _inside(ensemble, full).items()
        ],
    )
    for words, mean in (("as in the file", full.means), ("all geometric", _all(full.means, 0.0))):
        yield (
            f"image duplicates of {combination}, means {words}{BEST_FIRST}",
            [(policy, replace(by_images, means=mean, images=policy)) for policy in policies],
        )
    yield (
        f"product duplicates of {combination}, beside those of images{BEST_FIRST}",
        [(policy, replace(full, products=policy)) for policy in PRODUCT_POLICIES],
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
        + ([] if sets else [("members: plurality", plurality)]),
    )


def _inside(ensemble: Ensemble, full: Way) -> dict[str, Way]:
    """The combinations of its members."""
    return {
        name: replace(full, members=members)
        for name, members in ensemble.combinations.items()
        if set(members) <= set(full.members)
    }


def _fits(
    objects: Objects, version: EnsembleVersion, holdout: Holdout, ways: Mapping[str, Way]
) -> Iterator[tuple[str, Way]]:
    """Fitted again without each fold: what a version holds was fitted on all (I10)."""
    for name, way in ways.items():
        fitter = fitter_of(objects, version, name, version.fits[name]["accuracy"])
        fitter.steps()
        words = ": ".join(filter(None, ["fitted", fitter.fit(-1).words()]))
        yield f"{name}, as the file says", way
        yield f"{name}, {words}", replace(way, fitted=fitter.cross_fits(holdout.product_id))


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
