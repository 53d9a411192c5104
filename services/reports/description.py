"""What a dataset is: products, images, categories, repeats, pixels, and what a training dataset knows of it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.reports.contents import Contents, Report, read
from services.reports.distribution import Categories, describe_categories
from services.reports.image_facts import ImageFacts, describe_images
from services.reports.overlap import Overlap, describe_overlap, refuse_itself
from services.reports.repeats import DistinctImages, ImageSets, Repeats, describe_repeats, distinct_images, image_sets
from services.reports.survey import LIMIT, Survey, survey
from shared.domain.records import SCHEMA
from shared.packs import BadDocument, read_manifest
from shared.ports import Objects


@dataclass(frozen=True, slots=True)
class DescriptionProgress:
    """Where a description is: `stage` in words, what is done of how many `unit`, and the rate where it takes long."""

    stage: str
    done: int
    total: int
    unit: str
    rate: float = 0.0  # per second
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """One dataset described. Counts are exact but those of `pictures`, which say what they were worked out from."""

    schema: int
    dataset: str
    fingerprint: str
    source: str
    products: int
    images: int
    labelled: int
    labelled_share: float
    packs: int
    bytes: int  # of the packs
    image_bytes: int
    images_per_product: tuple[tuple[int, int], ...]  # (images, products that have so many)
    repeated_products: int  # left out at ingest: their id was there already
    unrecognised_images: int  # as ingest saw it by their first bytes
    bad_documents: int  # left out at ingest
    bad: tuple[BadDocument, ...]
    categories: Categories | None
    repeats: Repeats
    pictures: ImageFacts
    against: Overlap | None

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """A description and the arrays it was made of, for pages that show examples."""

    description: Description
    contents: Contents
    images: DistinctImages
    sets: ImageSets
    survey: Survey


def describe(
    objects: Objects,
    dataset: str,
    against: str = "",
    *,
    refuse_pixels: int,
    threads: int,
    limit: int = LIMIT,
    report: Callable[[DescriptionProgress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Findings:
    """Describe a dataset, against a training dataset where one is named; nothing is written.

    Up to `limit` distinct images are looked at by `threads` threads. Raises NotFoundError for an unknown dataset and
    BadInputError for one that cannot be held against the other.
    """
    manifest = read_manifest(objects, dataset)
    train = read_manifest(objects, against) if against else None
    if train is not None:
        refuse_itself(manifest, train)
    contents = read(objects, manifest, _counting(report, "reads the indexes", "packs"))
    report(DescriptionProgress("compares images", 0, contents.images, "images"))
    images = distinct_images(contents)
    sets = image_sets(contents, images)
    overlap = None
    if train is not None:
        stage = f"holds it against {train.dataset}"
        overlap = describe_overlap(objects, contents, train, _counting(report, stage, "steps"))
    seen = survey(
        objects,
        contents,
        images,
        refuse_pixels=refuse_pixels,
        threads=threads,
        limit=limit,
        report=lambda p: report(
            DescriptionProgress("looks at images", p.done, p.total, "images", p.rate, p.seconds_left)
        ),
        clock=clock,
    )
    repeats = describe_repeats(contents, images, sets)
    return Findings(_description(contents, repeats, seen, overlap), contents, images, sets, seen)


def _counting(report: Callable[[DescriptionProgress], None], stage: str, unit: str) -> Report:
    return lambda done, total: report(DescriptionProgress(stage, done, total, unit))


def _description(contents: Contents, repeats: Repeats, seen: Survey, against: Overlap | None) -> Description:
    manifest = contents.manifest
    counts = np.bincount(np.diff(contents.first_image))
    return Description(
        schema=SCHEMA,
        dataset=manifest.dataset,
        fingerprint=manifest.fingerprint,
        source=manifest.source,
        products=contents.products,
        images=contents.images,
        labelled=manifest.labelled,
        labelled_share=manifest.labelled / contents.products if contents.products else 0.0,
        packs=len(manifest.packs),
        bytes=manifest.bytes,
        image_bytes=int(contents.length.sum()),
        images_per_product=tuple((number, int(counts[number])) for number in np.flatnonzero(counts).tolist()),
        repeated_products=manifest.repeated,
        unrecognised_images=manifest.unrecognised,
        bad_documents=len(manifest.bad),
        bad=manifest.bad,
        categories=describe_categories(contents),
        repeats=repeats,
        pictures=describe_images(contents, seen),
        against=against,
    )
