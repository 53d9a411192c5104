"""The page of an evaluation: one self-contained HTML file, from what can be trusted to how it was made."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.reports import pages, report_charts
from services.reports.evaluation import Evaluation
from services.reports.pictures import NOT_A_PICTURE, Thumbnails
from services.reports.task import Category
from shared.domain.intervals import Accuracy
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_indexes, read_manifest
from shared.ports import Objects

NAMED_PRODUCTS = 3
"""A category is called a bad one only on at least so many products."""
WORST = 10
TABLE_CATEGORIES = 300
"""Rows of the table of all categories: the worst; `evaluate --json` has every one."""
_TEMPLATES = {"multiclass": "report.html.j2", "multilabel": "label_report.html.j2"}
_WORDS = {
    "multiclass": {
        "things": "products",
        "accepted": "can be accepted",
        "right": "Right",
        "category": "category",
        "holdout": "",
    },
    "multilabel": {
        "things": "answered labels",
        "accepted": "of answered labels can be accepted",
        "right": "Exactly right",
        "category": "label",
        "holdout": "exactly right of ",
    },
}
_CANDIDATES = 3  # training products of a category, of which the first with a picture is shown


def page(found: Evaluation, objects: Objects, taxonomy: Taxonomy) -> str:
    """The HTML text; pictures come from the job's dataset and from the one that the ensemble was trained on."""
    detail = found.detail
    shown = [*detail.mistakes, *(pair.example for pair in detail.pairs)] if detail else []
    pictures: dict[int, list[str]] = {}
    typical: dict[int, str] = {}
    if detail and shown:
        pictures = Thumbnails(objects, read_manifest(objects, found.dataset)).of([one.product for one in shown])
        training = read_manifest(objects, found.training_dataset)
        typical = typical_pictures(objects, training, {pair.said for pair in detail.pairs})
    words = _WORDS[found.task]
    paths = dict(zip(taxonomy.category_ids.tolist(), taxonomy.paths, strict=True))
    bad = worst(detail.categories, found.task) if detail else []
    both, alone = found.default.quality_with_duplicates, found.default.quality_without_duplicates
    return pages.render(
        _TEMPLATES[found.task],
        words=words,
        found=found,
        both=both,
        alone=alone,
        main=both or alone,
        detail=detail,
        paths=paths,
        pictures={product: some[0] for product, some in pictures.items() if some},
        typical=typical,
        blank=NOT_A_PICTURE,
        coverage_plot=report_charts.coverage(detail, words["things"]) if detail else None,
        calibration_plot=report_charts.calibration(detail) if detail else None,
        level_bars=report_charts.levels(found),
        worst=bad,
        worst_bars=report_charts.categories(bad, found.task),
        frequent_bars=report_charts.categories(frequent(detail.categories), found.task) if detail else None,
        too_few=sum(1 for one in detail.categories if one.recall.n < NAMED_PRODUCTS) if detail else 0,
        named_products=NAMED_PRODUCTS,
        table_categories=TABLE_CATEGORIES,
        member_plots={member.member: report_charts.training(member) for member in found.members},
        card_facts=card_facts,
        names=lambda labels: [" / ".join(paths[label]) for label in labels],
        moment=moment,
    )


def typical_pictures(objects: Objects, training: Manifest, categories: Iterable[int]) -> dict[int, str]:
    """Per category id the picture of its first product in dump order that has one; categories without are left out."""
    candidates: dict[int, list[int]] = {category: [] for category in categories}
    for _, index in read_indexes(objects, training):
        wanted = [category for category, products in candidates.items() if len(products) < _CANDIDATES]
        if not wanted:
            break
        for row in np.flatnonzero(np.isin(index.category_id, wanted)).tolist():
            products = candidates[int(index.category_id[row])]
            if len(products) < _CANDIDATES:
                products.append(int(index.product_id[row]))
    every = [product for products in candidates.values() for product in products]
    found = Thumbnails(objects, training).of(every) if every else {}
    return {
        category: picture
        for category, products in candidates.items()
        for picture in [p for product in products for p in found[product][:1] if p != NOT_A_PICTURE][:1]
    }


def worst(categories: Iterable[Category], task: str) -> list[Category]:
    """The worst of the categories (which come worst first) with at least `NAMED_PRODUCTS` products and a mistake."""
    often = (one for one in categories if one.recall.n >= NAMED_PRODUCTS)
    return [one for one in often if (one.f1.mean if task == "multilabel" else one.recall.share) < 1][:WORST]


def frequent(categories: Iterable[Category]) -> list[Category]:
    """Those of the most products."""
    return sorted(categories, key=lambda one: -one.recall.n)[:WORST]


def card_facts(card: Mapping[str, Any]) -> dict[str, str]:
    """A member card as names and words; nothing for a run without one."""
    if not card:
        return {}
    facts = {
        "Parameters": f"{card['parameters']:,}",
        "Weights": pages.size(card["bytes"]),
        "Operations per picture": f"{card['flops'] / 1e9:.3g} GFLOPs",
    }
    for one in card["inference"]:
        facts[f"{one['precision']}, batch of {one['batch']}"] = (
            f"{pages.seconds(one['seconds'])} ({one['images_per_second']:,.0f} images/s)"
        )
    for precision, figure in card["accuracy"].items():
        if figure["n"]:
            facts[f"Holdout images, one view, {precision}"] = pages.figure(Accuracy.from_plain(figure))
    return facts | {
        "Peak memory": f"{pages.size(card['peak_memory_bytes'])} of the {card['peak_memory_of']}",
        "Loading": pages.seconds(card["load_seconds"]),
        "Measured on": f"{card['device']}, {card['threads']} threads",
    }


def moment(seconds: float) -> str:
    """Seconds since the epoch as a date and time in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC" if seconds else "not yet"
