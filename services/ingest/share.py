"""One of the N processes that share an ingest which was asked of the launcher, by index: its share of the packs.

Whoever finds all packs written ends the ingest as a single process would that goes on with it. Several may do so at
once, and all make the same.
"""

import time
from dataclasses import dataclass, replace
from functools import partial

from services.ingest.making import accepted, make, target_of
from services.ingest.progress import Meter
from services.ingest.ranges import all_written, pack_numbers, packs_of_share
from services.ingest.sources import Categories, of_dump
from shared import dumps, ingest_progress, layout
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.records import Ingest
from shared.domain.taxonomy import parse
from shared.ingest_progress import IngestProgress
from shared.ports import Catalog, Clock, Objects, Stores
from shared.settings import IngestSettings

_SECONDS = 1.0  # between two reports


class _GoneError(Exception):
    """The row is not the one that this process works for: ended by another process, failed, removed."""


def run(
    stores: Stores,
    settings: IngestSettings,
    dataset: str,
    index: int,
    count: int,
    *,
    buckets: dumps.Buckets,
    clock: Clock = time.monotonic,
    now: Clock = time.time,
) -> str:
    """Write the packs of share `index` of `count`, then end the ingest if all packs are written; the end in words.

    Raises BadInputError for a source that cannot be used, which the row then says, and for a row that asks for
    something else. A share that was begun goes on.
    """
    row = _row(stores.catalog, dataset, index, count)
    watch = _Watch(stores, row, index)
    try:
        if row.state == "running":
            return _work(stores, replace(settings, pack_bytes=row.pack_bytes), watch, buckets, clock, now)
    except BadInputError as error:
        if not watch.gone():
            stores.catalog.end_ingest(dataset, "failed", str(error), bad_input=True)
            raise
    except (_GoneError, NotFoundError):  # who ends the ingest removes its work files
        if not watch.gone():
            raise
    return _ended(stores, row)


def _work(
    stores: Stores, settings: IngestSettings, watch: "_Watch", buckets: dumps.Buckets, clock: Clock, now: Clock
) -> str:
    row, index = watch.row, watch.index
    dump = dumps.locate(row.source, buckets)
    source = of_dump(row.source, dump)
    if source.identity != row.source_identity:
        raise BadInputError(row.source, "it has changed since it was asked for", remedy="remove the dataset, ask anew")
    categories = _categories(stores, row)
    size = dump.size()
    numbers = pack_numbers(size, row.pack_bytes)
    share = numbers[len(numbers) * index // row.processes : len(numbers) * (index + 1) // row.processes]
    target = target_of(stores, settings, row, categories)
    total = min(size, share.stop * row.pack_bytes) - share.start * row.pack_bytes
    meter = Meter(watch.report, total, clock, _SECONDS)
    packs = packs_of_share(target, dump, share, meter)
    for _ in packs if index else accepted(packs, source, row.allow_bad):  # the others' bad may be good from elsewhere
        pass
    meter.report()
    if not all_written(target, size):
        return f"its {len(share)} packs are written, others of {row.dataset} are not"
    ending = Meter(lambda _: watch.look(), size, clock, _SECONDS)
    together = partial(_rate, stores.objects, row)
    manifest = make(stores, settings, replace(row, processes=1), source, categories, ending, now(), together)
    return f"dataset {row.dataset} is complete: {manifest.products} products"


def _rate(objects: Objects, row: Ingest) -> float:
    told = ingest_progress.read(objects, row.dataset, row.processes)
    return 0.0 if told is None else told.rate


@dataclass(frozen=True, slots=True)
class _Watch:
    """Says how far a share is, and raises _GoneError once the row is not the one that it works for."""

    stores: Stores
    row: Ingest
    index: int

    def report(self, progress: IngestProgress) -> None:
        """Store the progress."""
        self.look()
        ingest_progress.put(self.stores.objects, self.row.dataset, self.index, progress)

    def look(self) -> None:
        """Raise _GoneError where nobody wants the work any more."""
        if self.gone():
            raise _GoneError

    def gone(self) -> bool:
        """Whether nobody wants the work any more."""
        return self.stores.catalog.ingest(self.row.dataset) != self.row


def _row(catalog: Catalog, dataset: str, index: int, count: int) -> Ingest:
    row = catalog.ingest(dataset)
    if row is None or not row.requested:
        raise BadInputError(f"ingest {dataset}", "nobody has asked for it", remedy="ask for it through the gateway")
    if row.processes != count or not 0 <= index < count:
        reason = f"there is no process {index} of {count}: it was asked for with {row.processes}"
        raise BadInputError(f"ingest {dataset}", reason, remedy="correct --index and --count")
    return row


def _ended(stores: Stores, row: Ingest) -> str:
    """What became of an ingest that is not this process's any more; a complete one's work files are removed."""
    now = stores.catalog.ingest(row.dataset)
    if now is None or now.created != row.created:
        return "the ingest is gone"
    if now.state == "failed":
        raise BadInputError(f"ingest {row.dataset}", f"it has failed: {now.error}")
    from services.ingest.ending import clear

    clear(stores.objects, row.dataset)
    return f"dataset {row.dataset} is complete"


def _categories(stores: Stores, row: Ingest) -> Categories | None:
    if not row.categories:
        return None
    content = stores.objects.read(layout.ingest_categories(row.dataset, row.categories))
    return Categories(content, parse(content, "the category table"))
