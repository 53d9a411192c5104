"""From a source to a dataset: its packs in order, the rows of their products, and the end of the ingest."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from services.ingest.pack_walk import NO_CATEGORIES, NO_DUMP, TRUNCATED, Rules
from services.ingest.pack_writer import PackAccount
from services.ingest.progress import Meter
from services.ingest.ranges import Target, packs_of_file, packs_of_stream
from services.ingest.sources import KINDS, Categories, Source
from shared.domain.digests import digest
from shared.domain.errors import BadInputError
from shared.domain.records import Ingest
from shared.settings import IngestSettings

if TYPE_CHECKING:
    from services.ingest.products import Products
    from shared.packs import Manifest, PackIndex
    from shared.ports import Stores


def make(
    stores: "Stores",
    settings: IngestSettings,
    ingest: Ingest,
    source: Source,
    categories: Categories | None,
    meter: Meter,
    now: float,
    rate: Callable[[], float] | None = None,
) -> "Manifest":
    """Write the packs that are not written yet, in `ingest.processes` processes, and end the ingest.

    `rate`: bytes per second of all who took part; None: those of `meter`, who was alone.
    Whoever does it again, or at the same time, makes the same. Raises BadInputError for a source that cannot be used.
    """
    from services.ingest.ending import close  # needs pyarrow, which the processes that write packs do without

    accounts, products = _write_packs(stores, settings, ingest, source, categories, meter)
    at = rate or meter.rate
    return close(stores.objects, stores.catalog, ingest, source, accounts, products, categories, now, at)


def target_of(stores: "Stores", settings: IngestSettings, ingest: Ingest, categories: Categories | None) -> Target:
    """Where the packs of an ingest go, and by which rules."""
    known = None if categories is None else frozenset(categories.taxonomy.category_ids.tolist())
    rules = Rules(known, ingest.allow_bad, settings.chain_documents)
    row = digest([ingest.source, ingest.source_identity, ingest.categories, ingest.allow_bad, ingest.created])
    return Target(stores.objects, ingest.dataset, rules, settings, row)


def _write_packs(
    stores: "Stores",
    settings: IngestSettings,
    ingest: Ingest,
    source: Source,
    categories: Categories | None,
    meter: Meter,
) -> tuple[list[PackAccount], "Products"]:
    from services.ingest.ending import product_rows, read_columns
    from services.ingest.products import Products

    target = target_of(stores, settings, ingest, categories)
    accounts: list[PackAccount] = []

    def written() -> Iterator["PackIndex"]:
        # in dump order and while other processes read on; of a repeated product the first row stays
        for account in accepted(packs, source, ingest.allow_bad):
            index = read_columns(stores.objects, ingest.dataset, account.number)
            stores.catalog.add_products(product_rows(ingest.dataset, account.number, index))
            accounts.append(account)
            yield index

    with closing(_packs(target, source, ingest.processes, meter)) as packs:
        products = Products(written())
    if source.dump is not None and source.dump.identity() != source.identity:
        raise BadInputError(source.name, "it changed while it was read", remedy="ingest it when it is complete")
    meter.report()
    return accounts, products


def _packs(target: Target, source: Source, processes: int, meter: Meter) -> Generator[PackAccount, None, None]:
    if source.dump is None or source.size is None:
        yield from packs_of_stream(target, source.read, meter)
    else:
        yield from packs_of_file(target, source.dump, source.size, processes, meter)


def accepted(packs: Iterator[PackAccount], source: Source, allow_bad: int) -> Iterator[PackAccount]:
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
