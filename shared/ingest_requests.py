"""What people ask of ingests: a row that says what is read into which dataset, made once and compared ever after."""

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

from shared import dumps, layout
from shared.domain import taxonomy
from shared.domain.errors import BadInputError, ConflictError
from shared.domain.records import Ingest
from shared.ports import Catalog, Stores
from shared.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CATEGORY_BYTES = 64 * 2**20  # a thousand times the largest category table known


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOrder:
    """A dump to read into a dataset by processes of the launcher. `source` and `categories`: a path or s3://BUCKET/KEY.

    `processes`: how many share the dump; None takes `settings.launcher.ingest_processes`.
    """

    dataset: str
    source: str
    categories: str = ""
    processes: int | None = None
    allow_bad: int = 0


def request(stores: Stores, settings: Settings, order: IngestOrder, *, buckets: dumps.Buckets, now: float) -> Ingest:
    """The row of an ingest, made or found; one that failed goes on. `now` in seconds since the epoch.

    Source and category table have to lie under `settings.gateway.source_prefixes`. Raises BadInputError, and
    ConflictError where the dataset was begun by another order, or by `shelver ingest` and not to the end.
    """
    check_numbers(order.dataset, order.allow_bad, order.processes)
    source = allowed_source(settings, order.source)
    if not source.endswith(".bson"):
        raise BadInputError(order.source, "it is no .bson dump", remedy="others are read by `shelver ingest`")
    dump = dumps.locate(source, buckets)
    table = b""
    if order.categories:
        table = dumps.read(allowed_source(settings, order.categories), buckets, _CATEGORY_BYTES)
        taxonomy.parse(table, order.categories)
    stored = stores.catalog.ingest(order.dataset)
    wanted = Ingest(
        dataset=order.dataset,
        source=source,
        source_identity=dump.identity(),
        processes=order.processes or (stored.processes if stored else settings.launcher.ingest_processes),
        pack_bytes=settings.ingest.pack_bytes,
        allow_bad=order.allow_bad,
        categories=sha256(table).hexdigest() if table else "",
        requested=True,
        created=now,
    )
    if stored is None and table:  # before the row, so that whoever sees it finds the table
        stores.objects.put(layout.ingest_categories(order.dataset, wanted.categories), table)
    return begin(stores.catalog, wanted)


def begin(catalog: Catalog, wanted: Ingest) -> Ingest:
    """Store the row unless its dataset has an equal one; the row that is stored. One that failed is running again.

    Raises ConflictError where the dataset was begun as something else.
    """
    stored = catalog.begin_ingest(wanted)
    _compare(stored, wanted)
    if stored.state != "failed":
        return stored
    catalog.end_ingest(wanted.dataset, "running")
    return replace(stored, state="running", error="", bad_input=False)


def allowed_source(settings: Settings, name: str) -> str:
    """The name of a file or object in its one form, links followed.

    Raises BadInputError where it lies under none of `settings.gateway.source_prefixes`.
    """
    prefixes = [prefix.strip() for prefix in settings.gateway.source_prefixes.split(",") if prefix.strip()]
    if name.startswith(dumps.S3):
        parts = name.removeprefix(dumps.S3).split("/")
        if all(part not in ("", ".", "..") for part in parts):
            for prefix in prefixes:
                if prefix.startswith(dumps.S3) and name.startswith(prefix.rstrip("/") + "/"):
                    return name
    elif PurePosixPath(name).is_absolute():
        path = Path(name).resolve()
        for prefix in prefixes:
            if not prefix.startswith(dumps.S3) and path.is_relative_to(Path(prefix).resolve()):
                return str(path)
    reason = "it lies under none of the folders and buckets that services may read"
    raise BadInputError(name, reason, remedy="add one to SHELVER_GATEWAY_SOURCE_PREFIXES")


def check_numbers(dataset: str, allow_bad: int, processes: int | None) -> None:
    """Raise BadInputError for what no ingest can have."""
    check_name("--dataset", dataset)
    if allow_bad < 0:
        raise BadInputError("--allow-bad", f"{allow_bad} is negative", remedy="give 0 or more")
    if processes is not None and processes < 1:
        raise BadInputError("--processes", f"{processes} is too few", remedy="give 1 or more")


def check_name(option: str, name: str) -> None:
    """Raise BadInputError for what cannot be the name of a dataset, given with `option`."""
    if not _NAME.fullmatch(name):
        remedy = "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
        raise BadInputError(option, f"'{name}' is no name of a dataset", remedy=remedy)


def _compare(stored: Ingest, wanted: Ingest) -> None:
    """Who asks on the command line may change the number of processes: it does not show in the result."""
    differences = [
        words
        for words, name in (
            ("now it is another source", "source"),
            ("the source has changed since", "source_identity"),
            ("now it is another category file, or none", "categories"),
            ("now it is another --allow-bad", "allow_bad"),
            ("now it is another SHELVER_INGEST_PACK_BYTES", "pack_bytes"),
        )
        if getattr(stored, name) != getattr(wanted, name)
    ]
    if not differences and wanted.requested and stored.state != "complete":
        if not stored.requested:
            differences = ["now it is asked of the launcher"]
        elif stored.processes != wanted.processes:
            differences = ["now it is another number of processes"]
    if differences:
        done = "is there already" if stored.state == "complete" else "was begun"
        raise ConflictError(
            f"the dataset '{wanted.dataset}' {done}, from {stored.source}: {differences[0]}; choose another name, "
            f"or remove it first with `shelver rm dataset {wanted.dataset}`"
        )
