"""The verb describe: what a dataset is, as text, JSON or a page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.app import AsJson, app
from services.cli.files import check_target, whole
from services.cli.session import Session
from services.cli.show import as_json, duration, facts, progress, stdout, table

if TYPE_CHECKING:  # they load Pillow, which `shelver --help` does without
    from services.reports.description import Description, DescriptionProgress, Findings
    from services.reports.distribution import Categories, CategoryCount
    from services.reports.image_facts import ImageFacts
    from services.reports.overlap import Overlap
    from services.reports.repeats import Repeats
    from services.reports.survey import Share

_LISTED = 5


@app.command()
def describe(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset to describe.")],
    against: Annotated[
        str, typer.Option(metavar="TRAIN", help="Also say what this training dataset knows of it.")
    ] = "",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with plots and pictures.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Describe a dataset: products, categories, duplicates, pictures.

    Among them sizes and formats, and what is blank or broken.

    Example: shelver describe test --against train --html test.html
    """
    session: Session = context.obj
    if html is not None:
        check_target(html)
    found = describe_dataset(session, dataset, against)
    if html is not None:
        from services.reports.description_page import render

        content = render(session.stores.objects, found).encode()
        with whole(html) as file:  # what fails before is no fault of the file
            file.write(content)
    if json:
        as_json(found.description.plain())
        return
    show_description(found.description)
    if html is not None:
        stdout.print(f"\nthe page is {html}", markup=False)


def describe_dataset(session: Session, dataset: str, against: str = "") -> "Findings":
    """Describe with progress, rate and time left."""
    from services.reports import description

    with progress(f"describe {dataset}") as update:

        def report(state: "DescriptionProgress") -> None:
            words = f"{state.stage}: {state.done:,} of {state.total:,} {state.unit}"
            if state.rate:
                words += f", {state.rate:,.0f} {state.unit}/s, {duration(state.seconds_left)} left"
            update(state.done, state.total, words)

        scoring = session.settings.scoring
        return description.describe(
            session.stores.objects,
            dataset,
            against,
            refuse_pixels=scoring.refuse_pixels,
            threads=scoring.decode_threads or os.cpu_count() or 1,
            report=report,
        )


def show_description(found: "Description") -> None:
    """The description for people."""
    counts = found.images_per_product
    _section(
        f"Dataset {found.dataset}",
        {
            "source": found.source,
            "fingerprint": found.fingerprint,
            "products": found.products,
            "labelled": _part(found.labelled, found.products),
            "images": found.images,
            "products with N images": ", ".join(f"{n}: {products:,}" for n, products in counts[:8])
            + (f", ... {counts[-1][0]}: {counts[-1][1]:,}" if len(counts) > 8 else ""),
            "bytes": f"{found.bytes:,} in {found.packs:,} pack{'' if found.packs == 1 else 's'}, "
            f"{found.image_bytes:,} of them images",
            "repeated products left out": found.repeated_products,
            "bad documents left out": found.bad_documents,
        },
    )
    for bad in found.bad[:_LISTED]:
        stdout.print(f"  left out at offset {bad.offset}: {bad.reason}", markup=False)
    if found.categories is not None and found.labelled:
        _show_categories(found.categories)
    _show_repeats(found.repeats, found)
    if found.against is not None:
        _show_overlap(found.against, found.products)
    _show_images(found.pictures)


def _show_categories(found: "Categories") -> None:
    _section(
        "Categories",
        {
            "in the table": found.categories,
            "without products": _part(found.without_products, found.categories),
            "products per category": f"least {found.least:,}, median {found.median:,g}, most {found.most:,}",
            "Gini coefficient": f"{found.gini:.3f}",
            "held by the largest 10 %": f"{100 * found.largest_tenth:.1f} %",
        },
    )
    table(
        ["level", "names", "paths", "with products", "largest"],
        [
            [level.level, level.names, level.paths, level.with_products, _paths(level.largest[:3])]
            for level in found.levels
        ],
        empty="",
    )
    _listed("most products", found.top)
    _listed("fewest products", found.bottom)
    _listed("no products", found.empty)


def _show_repeats(found: "Repeats", dataset: "Description") -> None:
    categories = found.placeholder_categories_from
    of_several = f" of {categories} categories or more" if categories else ""
    contradictions = {
        "MD5s in several categories": f"{found.conflicting_images:,}, which touch "
        f"{_part(found.products_with_conflicting_image, dataset.labelled)} labelled products",
        "likely wrong labels": f"{found.products_with_conflicting_key:,} products whose set of images stands in "
        f"several categories ({found.conflicting_keys:,} sets)",
    }
    _section(
        "Equal images",
        {
            "distinct images": f"{found.distinct_images:,} MD5s of {dataset.images:,} images",
            "MD5s that repeat": f"{found.repeated_images:,}, the most frequent {found.most_occurrences:,} times",
            "same image twice in a product": _part(found.products_with_image_twice, dataset.products),
            "products with equal sets of images": _part(found.products_sharing_key, dataset.products),
            **(contradictions if dataset.labelled else {}),
            "placeholders": f"{found.placeholders:,} MD5s in {found.placeholder_products_from} products or more"
            f"{of_several}; {found.products_with_placeholder:,} products have one",
        },
    )


def _show_overlap(found: "Overlap", products: int) -> None:
    decided = found.decided_by_product + found.decided_by_images
    right = None if found.decided_right is None else f"{_part(found.decided_right, found.decided_judged)} judged"
    _section(
        f"Against {found.train} ({found.train_products:,} labelled products)",
        {
            "products that share an image": _part(found.sharing_image, products),
            "decided by duplicates": f"{_part(decided, products)}: {found.decided_by_product:,} by the product, "
            f"{found.decided_by_images:,} by its images (policies unique, unique)",
            "decided as labelled here": right or "",
            "products with the same id": found.same_id,
        },
    )
    if found.only_in_train is not None:
        _listed(f"only in {found.train} ({found.only_in_train:,} categories)", found.only_in_train_listed)
        _listed(f"only here ({found.only_here:,} categories)", found.only_here_listed)


def _show_images(found: "ImageFacts") -> None:
    from services.reports.image_facts import unread_formats

    whole_dataset = "all of them" if found.complete else f"a sample of {found.distinct_images:,}"
    unread = unread_formats(found)
    _section(
        f"Pictures ({found.looked_at:,} distinct images looked at: {whole_dataset})",
        {
            "formats": _shares(found.formats) + (f"; scoring does not read {', '.join(unread)}" if unread else ""),
            "of JPEG": _shares(found.jpeg) or "all baseline, in colour",
            "undecodable": _share(found.undecodable) + _products(found.undecodable_products),
            "cut or damaged JPEG": _share(found.damaged) + _products(found.damaged_products),
            "blank": f"{_share(found.blank)}: deviation below {found.blank_deviation_below:g} of 255 levels"
            + _products(found.blank_products),
            "width": _quantiles(found.width),
            "height": _quantiles(found.height),
            "megapixels": _quantiles(found.megapixels),
            "distinct sizes": found.distinct_sizes,
        },
    )
    table(
        ["most frequent size", "images"],
        [[f"{size.width} x {size.height}", _share(size.share)] for size in found.sizes[:_LISTED]],
        empty="no image has a size",
    )


def _section(title: str, values: Mapping[str, Any]) -> None:
    stdout.print(f"\n{title}", style="bold", markup=False)
    facts(values)


def _part(count: int, of: int) -> str:
    return f"{count:,} of {of:,}" + (f" ({100 * count / of:.1f} %)" if of else "")


def _share(share: "Share") -> str:
    if share.low is None or share.high is None:
        return f"{share.images:,} ({100 * share.share:.1f} %)"
    return f"{100 * share.share:.2f} % ({100 * share.low:.2f}-{100 * share.high:.2f} %, n={share.n:,})"


def _shares(shares: Mapping[str, "Share"]) -> str:
    return ", ".join(f"{name} {_share(share)}" for name, share in shares.items() if share.images)


def _quantiles(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.4g}" for name, value in values.items())


def _products(products: tuple[int, ...]) -> str:
    if not products:
        return ""
    more = ", ..." if len(products) > _LISTED else ""
    return f"; product {', '.join(map(str, products[:_LISTED]))}{more}"


def _listed(title: str, counts: tuple["CategoryCount", ...]) -> None:
    if counts:
        stdout.print(f"{title}: {_paths(counts[:_LISTED])}", markup=False)


def _paths(counts: tuple["CategoryCount", ...]) -> str:
    return ", ".join(f"{' / '.join(one.path)} ({one.products:,})" for one in counts)
