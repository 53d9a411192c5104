"""The page of a description: one self-contained HTML file of cards, plots, tables and pictures."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from services.reports.charts import Bar, Series, bars, plot
from services.reports.contents import Contents
from services.reports.description import Description, Findings
from services.reports.distribution import Categories, CategoryCount
from services.reports.examples import find_examples
from services.reports.image_facts import ImageFacts, unread_formats
from services.reports.pages import percent
from services.reports.pages import render as render_page
from services.reports.repeats import DistinctImages
from services.reports.survey import Float64, Share, Survey
from shared.ports import Objects

_BINS = 32
_BARS = 8
_LEVEL_BARS = 5
_BAD = 50


def render(objects: Objects, found: Findings) -> str:
    """The page as HTML text; reads the pictures it shows."""
    described = found.description
    return render_page(
        "description.html.j2",
        d=described,
        unread=unread_formats(described.pictures),
        bad_rows=[(bad.offset, bad.reason) for bad in described.bad[:_BAD]],
        images_per_product=_images_per_product(described),
        file_sizes=_file_sizes(found.contents),
        category_plots=_category_plots(described.categories) if described.categories else (),
        level_bars=_count_bars(described.categories.levels[0].largest[:_LEVEL_BARS]) if described.categories else "",
        categories=_category_bars(described.categories) if described.categories else {},
        level_rows=[(n.level, n.names, n.paths, n.with_products) for n in described.categories.levels]
        if described.categories
        else (),
        only_in_train=_count_bars(described.against.only_in_train_listed) if described.against else "",
        only_here=_count_bars(described.against.only_here_listed) if described.against else "",
        occurrences=_occurrences(found.images),
        formats=_share_bars(described.pictures.formats),
        sizes=_share_bars({f"{s.width} x {s.height}": s.share for s in described.pictures.sizes[:_BARS]}),
        pixel_plots=_pixel_plots(found.survey, described.pictures),
        quantile_rows=_quantiles(described.pictures),
        kinds=_kinds(described.pictures),
        examples=find_examples(objects, found.contents, found.images, found.sets, found.survey),
    )


def share_words(share: Share) -> str:
    """A share: its count where it is one, else its interval and n."""
    if share.low is None or share.high is None:
        return f"{share.images:,} ({percent(share.share)})"
    return f"{percent(share.share)} ({100 * share.low:.2f}-{100 * share.high:.2f} %, n = {share.n:,})"


def _kinds(found: ImageFacts) -> Mapping[str, str]:
    """What is unusual about images, in words."""
    return {
        **{f"{name} JPEG": share_words(share) for name, share in found.jpeg.items()},
        "blank": share_words(found.blank),
        "cut or damaged JPEG": share_words(found.damaged),
        "undecodable": share_words(found.undecodable),
    }


def _quantiles(found: ImageFacts) -> Sequence[Sequence[str]]:
    columns = (found.width, found.height, found.megapixels)
    return [(name, *(f"{values[name]:,.4g}" for values in columns)) for name in found.width]


def _images_per_product(found: Description) -> Markup:
    counts = dict(found.images_per_product)
    rows = [(f"{n} image{'' if n == 1 else 's'}", counts[n]) for n in sorted(counts)[: _BARS - 1]]
    if more := sum(count for n, count in found.images_per_product if n not in sorted(counts)[: _BARS - 1]):
        rows.append(("more", more))
    return bars(
        [Bar(label, count, f"{count:,} ({percent(count / found.products)})") for label, count in rows],
        whole=found.products or None,
    )


def _file_sizes(contents: Contents) -> Markup:
    kilobytes = contents.length[contents.length > 0] / 1000
    return _histogram(kilobytes, np.ones(len(kilobytes)), "Size of an image file", "kB", "images")


def _histogram(values: Float64, weight: Float64, title: str, x: str, y: str) -> Markup:
    """Shares in bins of equal ratio: sizes spread over orders of magnitude."""
    if not len(values):
        return Markup("")
    low, high = float(values.min()), float(values.max())
    low, high = (low / 1.1, high * 1.1) if high < 1.2 * low else (low, high)
    edges = np.geomspace(low, high * (1 + 1e-9), _BINS + 1)
    shares = np.histogram(values, edges, weights=weight)[0] / weight.sum()
    steps = Series(title, edges.tolist(), [*shares.tolist(), float(shares[-1])], kind="steps")
    return plot([steps], title=title, x=x, y=f"share of {y}", x_log=high > 5 * low, y_percent=True)


def _category_plots(found: Categories) -> Sequence[Markup]:
    counts = np.sort([products for _, products in found.counts if products])[::-1].astype(np.float64)
    if not len(counts):
        return ()
    rank = np.arange(1, len(counts) + 1)
    held = np.append(0, np.cumsum(counts) / counts.sum())
    return (
        plot(
            [Series("products", rank.tolist(), counts.tolist(), kind="steps")],
            title="Products per category, largest first",
            x="category",
            y="products",
            y_log=bool(counts[0] >= 5 * counts[-1]),
        ),
        plot(
            [Series("products", np.linspace(0, 1, len(held)).tolist(), held.tolist())],
            title="Products in the largest categories",
            x="largest categories",
            y="share of products",
            x_percent=True,
            y_percent=True,
            diagonal=True,
        ),
    )


def _category_bars(found: Categories) -> Mapping[str, Markup]:
    """Both on one scale, so that the rarest look as rare as they are."""
    return {
        "Most products": _count_bars(found.top[:_BARS], whole=found.most),
        "Fewest products": _count_bars(found.bottom[:_BARS], whole=found.most),
    }


def _count_bars(counts: Iterable[CategoryCount], whole: int = 0) -> Markup:
    return bars([Bar(" / ".join(one.path), one.products, f"{one.products:,}") for one in counts], whole=whole or None)


def _share_bars(shares: Mapping[str, Share]) -> Markup:
    rows = [Bar(name, one.share, share_words(one), one.low, one.high) for name, one in shares.items() if one.images]
    return bars(rows, whole=1.0)


def _occurrences(images: DistinctImages) -> Markup:
    counts = np.bincount(images.occurrences) if len(images.occurrences) else np.zeros(1, dtype=np.int64)
    times = np.flatnonzero(counts)
    if len(times) < 2:
        return Markup("")
    return plot(
        [Series("MD5s", times.tolist(), counts[times].tolist(), kind="points")],
        title="How often an image repeats",
        x="images of one MD5",
        y="MD5s",
        x_log=bool(times[-1] > 20),
        y_log=True,
    )


def _pixel_plots(seen: Survey, found: ImageFacts) -> Sequence[Markup]:
    """Nothing to plot where every image has one size."""
    measured = (seen.width > 0) & (seen.height > 0)
    if found.distinct_sizes < 2:
        return ()
    width, height = seen.width[measured].astype(np.float64), seen.height[measured].astype(np.float64)
    weight = seen.weight[measured]
    return (
        _histogram(width * height / 1e6, weight, "Megapixels of an image", "megapixels", "images"),
        _histogram(width / height, weight, "Width by height", "width / height", "images"),
    )
