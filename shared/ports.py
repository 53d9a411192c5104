"""The ports: what Shelver asks of a store, a queue or a launcher, in its own words.

Every adapter passes the contract suite of its port. Any method may raise `StoreUnavailableError`; nothing else escapes
but what a docstring names. Adapters are safe to use from several threads and processes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from shared.domain.records import Chunk, Dataset, EnsembleVersion, Ingest, Job, Outcome, ProductRow, Run, Training
from shared.domain.service_records import Admission, Key, Lease


class Objects(Protocol):
    """Immutable bytes under keys such as `datasets/d/manifest.json`. A put is seen whole or not at all."""

    def put(self, key: str, content: bytes | Iterable[bytes | memoryview]) -> int:
        """Store `content` under `key`, replacing what was there, return its size; if it raises, nothing is stored."""

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """The object as a seekable stream. Raises NotFoundError."""

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset` (all of it by default), fewer at the end. Raises NotFoundError."""

    def size(self, key: str) -> int:
        """Bytes of the object. Raises NotFoundError."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""

    def delete(self, key: str) -> None:
        """Remove the object; not being there is fine."""


class Catalog(Protocol):
    """Datasets, their ingests and product rows."""

    def begin_ingest(self, ingest: Ingest) -> Ingest:
        """Store the row unless its dataset has one already; return the row that is stored."""

    def ingest(self, dataset: str) -> Ingest | None:
        """The ingest of `dataset`."""

    def ingests(self) -> list[Ingest]:
        """All ingests by dataset, also those of datasets that are not visible."""

    def end_ingest(
        self, dataset: str, state: str, error: str = "", *, rate: float = 0.0, bad_input: bool = False
    ) -> None:
        """Set the state of an ingest: complete (at `rate` bytes per second), failed (perhaps for its input), or running
        again."""

    def add_products(self, rows: Iterable[ProductRow]) -> None:
        """Insert rows in bulk; a row that is there already stays as it is."""

    def add_dataset(self, dataset: Dataset) -> None:
        """Make a dataset visible; the same name again is fine when the fingerprint is equal, else ConflictError."""

    def dataset(self, name: str) -> Dataset:
        """The dataset. Raises NotFoundError."""

    def datasets(self) -> list[Dataset]:
        """All visible datasets by name."""

    def product(self, dataset: str, product: int) -> ProductRow:
        """One product's row. Raises NotFoundError."""

    def products(self, dataset: str, *, after: int | None = None, limit: int = 1000) -> list[ProductRow]:
        """A page of product rows in order of id, those greater than `after`."""

    def count_products(self, dataset: str) -> int:
        """Product rows of the dataset."""

    def remove_dataset(self, name: str) -> None:
        """Remove the dataset's row, its ingest and its product rows; not being there is fine."""


class Runs(Protocol):
    """Runs, trainings, ensemble versions and the `current` pointers."""

    def declare(self, run: Run) -> Run:
        """Store the run unless its id is there already; return what is stored."""

    def run(self, run: str) -> Run:
        """The run. Raises NotFoundError."""

    def runs(self) -> list[Run]:
        """All runs, oldest first."""

    def swap_run(self, old: Run, new: Run) -> bool:
        """Store `new` if the row still has `old`'s state and generation; `new.generation` is `old.generation + 1`."""

    def remove_run(self, run: str) -> None:
        """Remove a run's row; not being there is fine."""

    def add_training(self, training: Training) -> Training:
        """Store the training unless its id is there already; return what is stored."""

    def training(self, training: str) -> Training:
        """The training. Raises NotFoundError."""

    def trainings(self) -> list[Training]:
        """All trainings, oldest first."""

    def swap_training(self, old: Training, new: Training) -> bool:
        """As `swap_run`."""

    def add_version(self, version: EnsembleVersion) -> EnsembleVersion:
        """Store an immutable ensemble version unless it is there already; return what is stored."""

    def version(self, name: str, version: str = "") -> EnsembleVersion:
        """One version of an ensemble, the current one by default. Raises NotFoundError."""

    def versions(self, name: str = "") -> list[EnsembleVersion]:
        """All versions (of one ensemble), oldest first."""

    def remove_version(self, name: str, version: str) -> None:
        """Remove an ensemble version, and `current` where it points at it; not being there is fine."""

    def remove_training(self, training: str) -> None:
        """Remove a training's row; not being there is fine."""

    def set_current(self, name: str, version: str) -> None:
        """Point `current` at a version. Raises NotFoundError."""

    def current(self, name: str) -> str:
        """The current version's digest, or an empty string."""


class Jobs(Protocol):
    """Scoring jobs, their chunks and outcomes. The rows are the truth; rules live in `shared.domain.states`."""

    def create(self, job: Job) -> Job:
        """Store the job unless its id is there already; return what is stored."""

    def job(self, job: str) -> Job:
        """The job. Raises NotFoundError."""

    def jobs(self, states: Sequence[str] = ()) -> list[Job]:
        """Jobs (in any of `states`), newest first."""

    def swap_job(self, old: Job, new: Job) -> bool:
        """Store `new` if the row still has `old`'s state and generation; `new.generation` is `old.generation + 1`."""

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Insert chunks in bulk; one that is there already stays as it is."""

    def chunk(self, chunk: str) -> Chunk:
        """One chunk. Raises NotFoundError."""

    def chunks(self, job: str, states: Sequence[str] = (), *, limit: int | None = None) -> list[Chunk]:
        """Chunks of a job (in any of `states`) in order of position, at most `limit`."""

    def swap_chunk(self, old: Chunk, new: Chunk) -> bool:
        """Store `new` (but never its `beat`) if the row still has `old`'s state and generation;
        `new.generation` is `old.generation + 1`."""

    def beat(self, chunk: str, generation: int, *, ready: bool, through: int = 0) -> bool:
        """Raise the beat of a running chunk of that generation; note whether the engine is ready, and the products that
        it is through with. False if lost."""

    def count_chunks(self, job: str) -> dict[str, dict[str, int]]:
        """Per state: `chunks` and the sums of `products`, `images`, `done`, `failed`, `decided`, `copied` and
        `scored_images`."""

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Insert outcomes in bulk; one whose (job, product) is there already stays as it is."""

    def outcomes(self, job: str, *, after: int = -1, limit: int = 1000, errors_only: bool = False) -> list[Outcome]:
        """A page of outcomes in order of position, those beyond `after`."""

    def outcomes_of(self, job: str, products: Sequence[int]) -> list[Outcome]:
        """The outcomes of these products (at most some thousands) by position; those not there are left out."""

    def count_outcomes(self, job: str) -> int:
        """Outcomes stored for the job."""

    def remove_job(self, job: str) -> None:
        """Remove a job with its chunks and outcomes; not being there is fine."""


class Keys(Protocol):
    """API keys, and what tenants were let in with."""

    def add_key(self, key: Key) -> Key:
        """Store the key unless its id is there already; return what is stored. ConflictError for a digest in use."""

    def key_of(self, digest: str) -> Key | None:
        """The key of a secret's digest, also a revoked one."""

    def all_keys(self) -> list[Key]:
        """All keys, oldest first."""

    def revoke_key(self, key: str) -> None:
        """Mark a key as revoked, once and for all. Raises NotFoundError."""

    def admission(self, tenant: str) -> Admission:
        """The tenant's row; one of generation 0 where none is stored."""

    def swap_admission(self, old: Admission, new: Admission) -> bool:
        """Store `new` if the row still has `old`'s generation (0: none is stored); `new`'s is one more."""


class Leases(Protocol):
    """Leadership among replicas of a service."""

    def lease(self, name: str) -> Lease:
        """The row; one of term 0 where none is stored."""

    def swap_lease(self, old: Lease, new: Lease) -> bool:
        """Store `new` if the row still has `old`'s term and beat (both 0: or none is stored)."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that every process may open."""

    objects: Objects
    catalog: Catalog
    runs: Runs
    jobs: Jobs
    keys: Keys
    leases: Leases


class Queue(Protocol):
    """Transport only: keys and numbers travel, never images or scores. Anything sent may be lost or come twice."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand a message to some worker."""

    def ask(self, question: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        """One question, one small answer. Raises FailedError with the worker's words, or when time is up."""

    def check(self) -> None:
        """Raise StoreUnavailableError or FailedError while nothing can be sent."""

    def waiting(self, pool: str) -> int | None:
        """Messages to a pool that no worker has taken; None where the transport cannot tell. Raises
        StoreUnavailableError."""

    def lost_workers(self) -> frozenset[str]:
        """Worker ids that are known to be dead, where the transport can tell; leases decide everything else."""

    def close(self, *, grace: float) -> None:
        """Stop taking messages; workers get `grace` seconds to hand back what they hold."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launcher knows of one process: running, succeeded, failed or preempted, its exit code and last lines.

    `reason` is why it waits or ended, in words, where its own last line does not tell.
    """

    name: str
    state: str
    exit_code: int | None = None
    log_tail: str = ""
    reason: str = ""


class Launcher(Protocol):
    """Starts training and ingest processes by deterministic name."""

    def check(self) -> None:
        """Raise StoreUnavailableError while nothing can be launched; a cheap question."""

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python -m ARGUMENTS...` under `name`; a name that was launched already is left as it is."""

    def status(self) -> dict[str, Launched]:
        """What became of every name that was launched and not deleted."""

    def delete(self, name: str) -> None:
        """Forget a name, ending its process first if it runs; not being there is fine."""


Clock = Callable[[], float]
"""Seconds; `time.monotonic` for durations, `time.time` for what people read."""
