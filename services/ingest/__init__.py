"""Ingest: a dump, or pictures in files, becomes a dataset of packs and indexes."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from services.ingest.making import make
from services.ingest.progress import Meter
from services.ingest.sources import Categories, Source, open_source
from shared import layout
from shared.domain.errors import BadInputError, ConflictError
from shared.domain.records import Ingest
from shared.domain.taxonomy import parse
from shared.dumps import S3
from shared.ingest_progress import IngestProgress
from shared.ingest_requests import begin, check_numbers
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.packs import Manifest
    from shared.ports import Stores

__all__ = ["IngestRequest", "run"]

_MOST_PROCESSES = 4  # by default: they outrun most disks, and stay below 512 MiB of memory together


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to read into which dataset. `source`: a path, s3://BUCKET/KEY, or '-' for standard input."""

    source: str
    dataset: str
    categories: Path | None = None
    allow_bad: int = 0
    processes: int | None = None  # None: one per core, up to 4; only plain .bson files are read by more than one


def run(
    stores: "Stores",
    settings: Settings,
    request: IngestRequest,
    report: Callable[[IngestProgress], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> "Manifest":
    """Read a source into a dataset, or go on with it where an earlier run died; a complete one is left as it is.

    Raises BadInputError for a source or category file that cannot be used; nothing of the dataset stays then. Raises
    ConflictError where the dataset was begun from another source or with other options.
    """
    # these need pyarrow and all adapters, which the processes that write packs do without
    from services.ingest.ending import clear
    from shared import wiring
    from shared.packs import read_manifest

    buckets = wiring.buckets(settings)
    categories = None if request.categories is None else _read_categories(request.categories)
    with open_source(request.source, None if categories is None else categories.taxonomy, buckets) as source:
        ingest = _checked(request, source, categories, settings)
        stored = begin(stores.catalog, ingest)
        if stored.state == "complete":
            if not stores.objects.exists(layout.manifest(request.dataset)):
                words = f"the dataset '{request.dataset}' was removed, but not to the end"
                raise ConflictError(f"{words}; finish with `shelver rm dataset {request.dataset}`")
            clear(stores.objects, request.dataset)
            return read_manifest(stores.objects, request.dataset)
        try:
            meter = Meter(report, source.size, clock)
            return make(
                stores, settings.ingest, replace(stored, processes=ingest.processes), source, categories, meter, now()
            )
        except BadInputError:
            _remove(stores, request.dataset)
            raise


def _read_categories(path: Path) -> Categories:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(str(path), f"cannot be read: {error.strerror}", remedy="check --categories") from None
    return Categories(content, parse(content, str(path)))


def _checked(request: IngestRequest, source: Source, categories: Categories | None, settings: Settings) -> Ingest:
    as_given = request.source == "-" or request.source.startswith(S3)
    check_numbers(request.dataset, request.allow_bad, request.processes)
    return Ingest(
        dataset=request.dataset,
        source=request.source if as_given else str(Path(request.source).absolute()),
        source_identity=source.identity,
        processes=request.processes or min(os.cpu_count() or 1, _MOST_PROCESSES),
        pack_bytes=settings.ingest.pack_bytes,
        allow_bad=request.allow_bad,
        categories="" if categories is None else sha256(categories.content).hexdigest(),
    )


def _remove(stores: "Stores", dataset: str) -> None:
    stores.objects.delete(layout.manifest(dataset))  # first, so that it is never visible with parts missing
    for key in stores.objects.list(layout.dataset_prefix(dataset)):
        stores.objects.delete(key)
    stores.catalog.remove_dataset(dataset)
