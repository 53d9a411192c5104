"""What is stored and sent: immutable records with a schema number, and their plain-JSON form.

Times are seconds since the epoch and only informative: no decision compares times of two machines.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from shared.domain.errors import NewerSchemaError

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Anything with a `schema`; `plain` and `from_plain` convert to and from JSON values."""

    schema: int = SCHEMA

    def plain(self) -> dict[str, Any]:
        """The record as JSON values (tuples become lists when written)."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The record of `plain`. Unknown keys of an older schema are dropped; a newer schema is refused."""
        written_by = plain.get("schema", SCHEMA)
        if written_by > SCHEMA:
            raise NewerSchemaError(f"{cls.__name__} of schema {written_by}: this Shelver reads up to {SCHEMA}")
        known = cls.__dataclass_fields__
        fields: dict[str, Any] = {
            name: _tuple(value) if isinstance(value, list) else value for name, value in plain.items() if name in known
        }
        return cls(**fields)


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(v) if isinstance(v, list) else v for v in values)


# --- datasets -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest(Record):
    """One reading of a source into a dataset. States: running, complete, failed."""

    dataset: str
    source: str
    source_identity: str  # size and modification time of a file; empty for a stream
    processes: int
    pack_bytes: int
    allow_bad: int
    categories: str  # digest of the category file's bytes; empty without one
    requested: bool = False  # through the API: the launcher starts its processes, whose number is frozen here
    state: str = "running"
    error: str = ""
    bad_input: bool = False  # it failed for what the source or the category table holds
    rate: float = 0.0  # bytes of the source per second, once complete; 0 where it went on after a stop
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset(Record):
    """The row of a complete dataset; the manifest in the object store is the full account."""

    name: str
    fingerprint: str
    products: int
    images: int
    labelled: int
    bytes: int
    repeated: int
    bad: int
    taxonomy: str  # its fingerprint; empty without categories
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRow(Record):
    """Where one product lies: what the gateway needs to show it."""

    dataset: str
    id: int
    category_id: int | None
    pack: int
    offset: int
    length: int
    images: int


# --- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Record):
    """One training of one member on one dataset. `definition` is what its id is the digest of."""

    id: str
    member: str
    dataset: str
    definition: Mapping[str, Any]
    parent: str = ""
    state: str = "pending"
    generation: int = 0
    attempt: int = 0
    reason: str = ""
    bad_input: bool = False  # it failed for what its member asks or its dataset holds
    created: float = 0.0
    ended: float = 0.0  # when it was last complete or failed; 0 while it never was


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Record):
    """One request: ensemble file x dataset. `runs` maps member names to run ids, in the file's order."""

    id: str
    ensemble: str
    dataset: str
    document: Mapping[str, Any]  # the resolved ensemble file
    runs: Mapping[str, str]
    move_current: bool = True
    state: str = "running"
    generation: int = 0
    version: str = ""
    reason: str = ""
    bad_input: bool = False  # it failed for what was asked, or what its dataset holds
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleVersion(Record):
    """What a scoring job names: resolved file, complete runs, fits, duplicate table and taxonomy under one digest."""

    name: str
    version: str
    document: Mapping[str, Any]
    runs: Mapping[str, str]
    dataset: str
    dataset_fingerprint: str
    taxonomy: str
    duplicate_table: str  # object key; empty without one
    fits: Mapping[str, Any] = field(default_factory=dict)
    imported: bool = False  # weights from elsewhere: what they have seen of the dataset is not known
    created: float = 0.0


# --- scoring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Frozen when a job is created; part of what makes two jobs equal."""

    image_duplicates: str
    product_duplicates: str
    skip_decided: bool = True
    chunk_images: int = 4096
    keep_scores: bool = False
    since: str = ""  # the job whose outcomes are copied for products that have not changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Record):
    """One scoring of one dataset by one ensemble version. `generation` rises with every stored change."""

    id: str
    dataset: str
    dataset_fingerprint: str
    ensemble: str
    version: str
    options: JobOptions
    products: int
    images: int
    tenant: str = "local"
    pool: str = "default"
    state: str = "queued"
    generation: int = 0
    precision: str = ""  # written by the first engine that is ready
    batch_images: int = 0  # likewise; halved when a device runs out of memory
    halvings: int = 0
    unready_losses: int = 0  # losses before "engine ready" since a chunk was last done
    waves: int = 0  # outages since a chunk was last done
    progress: int = 0  # chunks done or quarantined when one of the two was last counted
    error: str = ""
    created: float = 0.0
    ended: float = 0.0

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """As `Record.from_plain`, with the options as a record too."""
        job = super(Job, cls).from_plain(plain)
        options = plain["options"]
        return dataclasses.replace(job, options=options if isinstance(options, JobOptions) else JobOptions(**options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(Record):
    """A contiguous byte range of one pack. `position` is the dataset-wide place of its first product in dump order."""

    id: str
    job: str
    pack: int
    offset: int
    length: int
    position: int
    products: int
    images: int
    state: str = "pending"
    generation: int = 0
    beat: int = 0  # raised by the worker that runs it; never by a swap
    ready: bool = False  # the worker that runs it has reported its engine ready
    through: int = 0  # products that the worker which runs it was through with at its last beat; each step forgets them
    worker: str = ""
    parent: str = ""
    solo: bool = False
    lost: bool = False  # its worker gave it up after a failure that was not a product's
    losses: int = 0  # counted attempts only
    done_before: int = 0  # chunks of the job that were done when this one was first lost or cut off its parent
    cuts: tuple[int, ...] = ()  # positions of the first product of each child, once split
    done: int = 0  # products with a prediction
    failed: int = 0  # products with an error
    decided: int = 0  # products the duplicates decided, without the network
    copied: int = 0  # products whose outcome was copied from the job that `JobOptions.since` names
    scored_images: int = 0
    precision: str = ""
    batch_images: int = 0
    device: str = ""  # that its networks ran on, as a training's figures name it; empty where none ran
    seconds: Mapping[str, float] = field(default_factory=dict)  # per stage: fetch, decode, forward, write
    scores: str = ""  # object key when the job keeps scores
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """What a job knows of one product: `predictions` per combination, or an `error`; one per (job, product)."""

    job: str
    product: int
    position: int
    chunk: str
    source: str = "model"  # model | image duplicate | product duplicate
    overridden: float = 0.0  # share of the product's images that a duplicate decided
    predictions: Mapping[str, Any] = field(default_factory=dict)
    model_only: Mapping[str, Any] = field(default_factory=dict)  # empty where the network did not run
    images: str = ""  # digest of the images' MD5s in their order: equal where the product has not changed
    since: str = ""  # the job that this outcome was copied from
    error: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One combination's answer for one product. Class indexes are rows of the taxonomy; floats have 7 decimals."""

    category_id: int
    class_index: int
    probability: float
    top: tuple[tuple[int, float], ...]  # (class index, probability), best first
    nodes: tuple[tuple[int, float], ...]  # per level: (node index of that level, probability)
    margin: float  # best minus second best probability
    entropy: float  # nats, over all classes
    decision: str = ""  # one of `shared.domain.fits.DECISIONS`; empty without a fit
    labels: tuple[tuple[int, float], ...] | None = None  # those answered, as `top`; None where there is one category
