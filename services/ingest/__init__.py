"""Ingest: a dump, or pictures in files, becomes a dataset of packs and indexes."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from services.ingest.pack_writer import NO_CATEGORIES, NO_DUMP, TRUNCATED, PackAccount, Rules
from services.ingest.progress import Meter
from services.ingest.ranges import Target, packs_of_file, packs_of_stream
from services.ingest.sources import KINDS, Categories, Source, identity, open_source
from shared import layout
from shared.domain.errors import BadInputError, ConflictError
from shared.domain.records import Ingest
from shared.domain.taxonomy import parse
from shared.ingest_progress import IngestProgress
from shared.ingest_requests import begin, check_numbers
from shared.settings import IngestSettings, Settings

if TYPE_CHECKING:
    from services.ingest.ending import Products
    from shared.packs import Manifest, PackIndex
    from shared.ports import Stores

__all__ = ["IngestProgress", "IngestRequest", "run"]

_MOST_PROCESSES = 4  # by default: they outrun most disks, and stay below 512 MiB of memory together


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to read into which dataset. `source`: a path, or '-' for standard input."""

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
    # both need pyarrow, which the processes that write packs do without
    from services.ingest.ending import clear, close
    from shared.packs import read_manifest

    categories = None if request.categories is None else _read_categories(request.categories)
    with open_source(request.source, None if categories is None else categories.taxonomy) as source:
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
            accounts, products = _write_packs(stores, settings.ingest, ingest, source, categories, meter)
            return close(stores.objects, stores.catalog, ingest, source, accounts, products, categories, now())
        except BadInputError:
            _remove(stores, request.dataset)
            raise


def _write_packs(
    stores: "Stores",
    settings: IngestSettings,
    ingest: Ingest,
    source: Source,
    categories: Categories | None,
    meter: Meter,
) -> tuple[list[PackAccount], "Products"]:
    from services.ingest.ending import Products, product_rows, read_columns

    known = None if categories is None else frozenset(categories.taxonomy.category_ids.tolist())
    target = Target(stores.objects, ingest.dataset, Rules(known, ingest.allow_bad, settings.chain_documents), settings)
    accounts: list[PackAccount] = []

    def written() -> Iterator["PackIndex"]:
        # in dump order and while other processes read on; of a repeated product the first row stays
        for account in _accepted(packs, source, ingest.allow_bad):
            index = read_columns(stores.objects, ingest.dataset, account.number)
            stores.catalog.add_products(product_rows(ingest.dataset, account.number, index))
            accounts.append(account)
            yield index

    with closing(_packs(target, source, ingest.processes, meter)) as packs:
        products = Products(written())
    if source.path is not None and identity(source.path) != source.identity:
        raise BadInputError(source.name, "it changed while it was read", remedy="ingest it when it is complete")
    meter.report()
    return accounts, products


def _packs(target: Target, source: Source, processes: int, meter: Meter) -> Generator[PackAccount, None, None]:
    if source.path is None or source.size is None:
        yield from packs_of_stream(target, source.read, meter)
    else:
        yield from packs_of_file(target, source.path, source.size, processes, meter)


def _accepted(packs: Iterator[PackAccount], source: Source, allow_bad: int) -> Iterator[PackAccount]:
    """The packs as they come, until one bad document too many. Raises BadInputError for that one."""
    bad = 0
    for account in packs:
        for offset, reason in account.bad:
            bad += 1
            if reason in NO_DUMP.values() or bad > allow_bad:
                position, words = source.place(offset, reason)
                raise BadInputError(source.name, words, position=position, remedy=_remedy(reason))
        yield account


def _remedy(reason: str) -> str:
    if reason == NO_DUMP["gzip"]:
        return "name it .bson.gz, or unpack it on its way to '-': gunzip -c FILE | shelver ingest -"
    if reason == NO_DUMP["text"]:
        return f"give {KINDS}"
    if reason.endswith(NO_CATEGORIES):
        return "pass the category table with --categories CSV"
    if reason.startswith(TRUNCATED):
        return "copy or dump it again, or leave what is cut off out with --allow-bad 1"
    return "correct it, or leave bad documents out with --allow-bad N"


def _read_categories(path: Path) -> Categories:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(str(path), f"cannot be read: {error.strerror}", remedy="check --categories") from None
    return Categories(content, parse(content, str(path)))


def _checked(request: IngestRequest, source: Source, categories: Categories | None, settings: Settings) -> Ingest:
    check_numbers(request.dataset, request.allow_bad, request.processes)
    return Ingest(
        dataset=request.dataset,
        source=request.source if request.source == "-" else str(Path(request.source).absolute()),
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
