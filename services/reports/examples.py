"""Pictures that a description shows: of categories, placeholders, contradictions and blank images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.reports.contents import Contents, Int64
from services.reports.image_facts import blank
from services.reports.pictures import thumbnail
from services.reports.repeats import DistinctImages, ImageSets, placeholders
from services.reports.survey import Survey, read_images
from shared.domain.digests import scatter, seed_of
from shared.ports import Objects

_FREQUENT = 3  # categories, a row of pictures each
_RARE = 7  # categories, a few pictures each
_OF_RARE = 2
_IN_ROW = 7  # pictures that stand beside each other on a wide page
_GROUPS = 8  # of products with equal images
_IN_GROUP = 4
_NAMED = 2  # categories written below a picture


@dataclass(frozen=True, slots=True)
class Example:
    """One image: its row in the contents, later its data: URI, and what is written below it."""

    row: int
    title: str
    lines: tuple[str, ...] = ()
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Examples of one thing."""

    title: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """All galleries of a page."""

    frequent: tuple[Gallery, ...]
    rare: Gallery
    drawn: Gallery  # any products, where no product has a category
    placeholders: Gallery
    contradictions: Gallery  # images in several categories that are no placeholders
    wrong_labels: tuple[Gallery, ...]  # products of equal images and different categories
    blank: Gallery


def find_examples(
    objects: Objects, contents: Contents, images: DistinctImages, sets: ImageSets, seen: Survey
) -> Examples:
    """Choose examples, equal ones for an equal dataset, and read their pictures."""
    frequent, rare = _of_categories(contents)
    chosen = Examples(
        frequent=frequent,
        rare=rare,
        drawn=Gallery("Sample", () if frequent else _products(contents, np.arange(contents.products), 2 * _IN_ROW)),
        placeholders=Gallery("Placeholders", _placeholders(contents, images)),
        contradictions=Gallery("Images in several categories", _contradictions(contents, images)),
        wrong_labels=_wrong_labels(contents, images, sets),
        blank=Gallery("Blank images", _blank(contents, seen)),
    )
    return _with_pictures(objects, contents, chosen)


def _with_pictures(objects: Objects, contents: Contents, chosen: Examples) -> Examples:
    single = (chosen.rare, chosen.drawn, chosen.placeholders, chosen.contradictions, chosen.blank)
    galleries = [*chosen.frequent, *chosen.wrong_labels, *single]
    rows = np.unique(np.array([one.row for gallery in galleries for one in gallery.examples], dtype=np.int64))
    rows = rows[np.lexsort((contents.offset[rows], contents.pack[rows]))]
    found = {int(row): thumbnail(file) for row, file in zip(rows, read_images(objects, contents, rows), strict=True)}

    def shown(gallery: Gallery) -> Gallery:
        return replace(gallery, examples=tuple(replace(one, picture=found[one.row]) for one in gallery.examples))

    return Examples(
        frequent=tuple(map(shown, chosen.frequent)),
        rare=shown(chosen.rare),
        drawn=shown(chosen.drawn),
        placeholders=shown(chosen.placeholders),
        contradictions=shown(chosen.contradictions),
        wrong_labels=tuple(map(shown, chosen.wrong_labels)),
        blank=shown(chosen.blank),
    )


def _of_categories(contents: Contents) -> tuple[tuple[Gallery, ...], Gallery]:
    """A gallery of each of the most frequent categories, and one of the rarest that have products; none is in both."""
    counts = np.bincount(contents.class_index[contents.class_index >= 0], minlength=contents.classes)
    order = np.argsort(-counts, kind="stable")
    filled = order[counts[order] > 0]
    frequent = filled[: min(_FREQUENT, -(-len(filled) // 2))]
    rare = filled[len(frequent) :][::-1][:_RARE]

    def examples(one: int, limit: int) -> tuple[Example, ...]:
        return _products(contents, np.flatnonzero(contents.class_index == one), limit)

    galleries = (Gallery(f"{_name(contents, c)}: {_count(counts[c])}", examples(c, _IN_ROW)) for c in frequent.tolist())
    few = (
        replace(example, lines=(_name(contents, c), _count(counts[c])))
        for c in rare.tolist()
        for example in examples(c, _OF_RARE)
    )
    return tuple(galleries), Gallery("Rare categories", tuple(few))


def _count(products: int) -> str:
    return f"{products:,} {'product' if products == 1 else 'products'}"


def _products(contents: Contents, products: Int64, limit: int) -> tuple[Example, ...]:
    """The first images of up to `limit` products that have any, drawn by a hash of their ids."""
    filled = products[np.diff(contents.first_image)[products] > 0]
    drawn = filled[np.argsort(scatter(seed_of("examples"), contents.product_id[filled]), kind="stable")[:limit]]
    return tuple(Example(int(contents.first_image[p]), str(contents.product_id[p])) for p in drawn)


def _placeholders(contents: Contents, images: DistinctImages) -> tuple[Example, ...]:
    chosen = _most_products(images, np.flatnonzero(placeholders(contents, images)))
    return tuple(
        Example(
            int(images.first[one]),
            _count(images.products[one]),
            (
                *([f"{images.categories[one]:,} categories"] if images.categories[one] else []),
                f"such as product {contents.product_id[contents.product_of[images.first[one]]]}",
            ),
        )
        for one in chosen
    )


def _contradictions(contents: Contents, images: DistinctImages) -> tuple[Example, ...]:
    chosen = _most_products(images, np.flatnonzero((images.categories > 1) & ~placeholders(contents, images)))
    return tuple(
        Example(
            int(images.first[one]),
            f"{images.products[one]:,} products, {images.categories[one]:,} categories",
            _named(contents, images.pair_product[images.pair_image == one]),
        )
        for one in chosen
    )


def _most_products(images: DistinctImages, chosen: Int64) -> Int64:
    return chosen[np.lexsort((images.first[chosen], -images.products[chosen]))][: 2 * _IN_ROW]


def _named(contents: Contents, products: Int64) -> tuple[str, ...]:
    """The most frequent categories of products, with counts."""
    classes = Counter(c for c in contents.class_index[products].tolist() if c >= 0)
    return tuple(f"{_name(contents, c)} ({count:,})" for c, count in classes.most_common(_NAMED))


def _wrong_labels(contents: Contents, images: DistinctImages, sets: ImageSets) -> tuple[Gallery, ...]:
    """Groups of products whose sets of images are equal and whose categories are not; the smallest groups first.

    Two products that contradict each other are a wrong label; a hundred share a placeholder.
    """
    mine = np.flatnonzero((sets.number >= 0) & (contents.class_index >= 0))
    mine = mine[sets.conflicting[sets.number[mine]]]
    groups, first, sizes = np.unique(sets.number[mine], return_index=True, return_counts=True)
    galleries = []
    for group in groups[np.lexsort((mine[first], sizes))][:_GROUPS]:
        members = _different_first(contents, mine[sets.number[mine] == group])
        shown = tuple(_labelled(contents, images, members[:_IN_GROUP]))
        galleries.append(Gallery(f"{len(members):,} products with equal images", shown))
    return tuple(galleries)


def _different_first(contents: Contents, products: Int64) -> Int64:
    """Products reordered so that one of each category comes before the second of any."""
    classes = contents.class_index[products]
    order = np.argsort(classes, kind="stable")
    _, start, lengths = np.unique(classes[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(start, lengths)
    return products[order[np.argsort(turn, kind="stable")]]


def _labelled(contents: Contents, images: DistinctImages, products: Int64) -> Iterable[Example]:
    """Products of equal images, each by the same one of them, whatever their order."""
    for product in products:
        rows = slice(contents.first_image[product], contents.first_image[product + 1])
        row = int(contents.first_image[product] + np.argmin(images.number[rows]))
        category = _name(contents, int(contents.class_index[product]))
        yield Example(row, str(contents.product_id[product]), (category,))


def _blank(contents: Contents, seen: Survey) -> tuple[Example, ...]:
    chosen = np.flatnonzero(blank(seen))
    chosen = chosen[np.lexsort((seen.row[chosen], -seen.weight[chosen]))][: 2 * _IN_ROW]
    return tuple(
        Example(
            int(seen.row[one]),
            str(contents.product_id[contents.product_of[seen.row[one]]]),
            (f"deviation {seen.deviation[one]:.2f}", *_times(seen, int(one))),
        )
        for one in chosen
    )


def _times(seen: Survey, one: int) -> Sequence[str]:
    return [f"{seen.weight[one]:,.0f} times"] if seen.complete and seen.weight[one] > 1 else []


def _name(contents: Contents, class_index: int) -> str:
    assert contents.taxonomy is not None  # a product has a class
    if contents.sets is None:
        return " / ".join(contents.taxonomy.paths[class_index])
    return ", ".join(" / ".join(contents.taxonomy.paths[label]) for label in contents.sets.of(class_index)) or "none"
