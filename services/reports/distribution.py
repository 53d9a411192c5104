"""How products are spread over the category table."""

import math
from dataclasses import dataclass

import numpy as np

from services.reports.contents import Contents, Int32, Int64
from shared.domain.taxonomy import LEVELS, Taxonomy

_LISTED = 10


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """One category and its products."""

    category_id: int
    path: tuple[str, ...]
    products: int


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the tree. Nodes are keyed by full path: `paths` counts them, `names` their distinct last parts."""

    level: int
    names: int
    paths: int
    with_products: int
    largest: tuple[CategoryCount, ...]  # by products; `category_id` is -1 above the last level


@dataclass(frozen=True, slots=True)
class Categories:
    """Products per category; one of a multilabel dataset counts in each of its own.

    Least, median, most and Gini are over the categories that have products.
    """

    categories: int
    without_products: int
    least: int
    median: float
    most: int
    gini: float  # 0: all equal, towards 1: one holds all
    largest_tenth: float  # share of the labels in the largest 10 % of categories with products
    levels: tuple[Level, ...]
    top: tuple[CategoryCount, ...]
    bottom: tuple[CategoryCount, ...]  # fewest products first, of those that have any
    empty: tuple[CategoryCount, ...]  # the first few without products
    counts: tuple[tuple[int, int], ...]  # (category id, products) of every category in the table's order


def describe_categories(contents: Contents) -> Categories | None:
    """The distribution; None for a dataset without a category table."""
    taxonomy = contents.taxonomy
    if taxonomy is None:
        return None
    labelled = contents.said
    counts = np.bincount(labelled, minlength=taxonomy.classes)
    order = np.argsort(-counts, kind="stable")
    filled = order[counts[order] > 0]
    some = counts[filled]
    return Categories(
        categories=taxonomy.classes,
        without_products=taxonomy.classes - len(filled),
        least=int(some.min()) if len(some) else 0,
        median=float(np.median(some)) if len(some) else 0.0,
        most=int(some.max()) if len(some) else 0,
        gini=gini(some),
        largest_tenth=largest_share(some, 0.1),
        levels=tuple(_level(taxonomy, level, labelled) for level in range(LEVELS)),
        top=_listed(taxonomy, filled[:_LISTED], counts),
        bottom=_listed(taxonomy, filled[::-1][:_LISTED], counts),
        empty=_listed(taxonomy, np.flatnonzero(counts == 0)[:_LISTED], counts),
        counts=tuple(zip(taxonomy.category_ids.tolist(), counts.tolist(), strict=True)),
    )


def gini(counts: Int64) -> float:
    """The Gini coefficient of positive counts, int64[k]: half the relative mean absolute difference; 0 without any."""
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    if not n:
        return 0.0
    return float(2 * np.sum(np.arange(1, n + 1) * ordered) / (n * ordered.sum()) - (n + 1) / n)


def largest_share(counts: Int64, part: float) -> float:
    """Share of all that the largest `part` of the counts hold (at least one of them); 0 without any."""
    if not len(counts):
        return 0.0
    ordered = np.sort(counts)[::-1]
    return float(ordered[: math.ceil(part * len(ordered))].sum() / ordered.sum())


def _level(taxonomy: Taxonomy, level: int, labelled: Int32) -> Level:
    nodes = taxonomy.nodes[level]
    products = np.bincount(taxonomy.node_of[level][labelled], minlength=len(nodes))
    largest = np.argsort(-products, kind="stable")[:_LISTED]
    return Level(
        level=level + 1,
        names=len({path[-1] for path in nodes}),
        paths=len(nodes),
        with_products=int((products > 0).sum()),
        largest=tuple(CategoryCount(-1, nodes[node], int(products[node])) for node in largest if products[node]),
    )


def _listed(taxonomy: Taxonomy, classes: Int64, counts: Int64) -> tuple[CategoryCount, ...]:
    return tuple(CategoryCount(int(taxonomy.category_ids[c]), taxonomy.paths[c], int(counts[c])) for c in classes)
