"""Every setting, in groups, with its unit, what None means and why this default. Read once, by `from_environment`."""

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from shared.domain.errors import BadInputError

_PREFIX = "SHELVER_"
_OF_COMMANDS = ("SHELVER_SERVER", "SHELVER_KEY")
"""Options of the command line, which has them from the environment by itself; services have no use for them."""
_SWITCH = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_WHERE = {"catalog": ("mongodb", "mongodb+srv"), "objects": ("s3",), "queue": ("redis", "rediss")}
"""Settings that choose an adapter, and the schemes of those on servers."""


@dataclass(frozen=True, slots=True)
class MongoSettings:
    """The server behind `catalog = mongodb://...`; all else stands in that address. Durations in seconds."""

    connect_seconds: float = 3.0
    select_seconds: float = 5.0  # no server of the address can be written to for this long: it is away
    read_seconds: float = 30.0  # without a byte: the connection is dead


@dataclass(frozen=True, slots=True)
class S3Settings:
    """The server behind `objects = s3://BUCKET[/PREFIX]`. Durations in seconds."""

    endpoint: str = ""  # http(s)://HOST[:PORT]; empty: the region's at AWS
    region: str = "us-east-1"  # what servers without regions expect
    path_style: bool = True  # the bucket in the path: every server knows it, and needs no DNS name per bucket
    ca_file: str = ""  # certificates to trust besides the system's; empty: none
    credentials_file: str = ""  # in AWS's format; empty: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    connect_seconds: float = 3.0
    read_seconds: float = 30.0  # without a byte: the connection is dead
    tries: int = 4  # of what may be repeated, with back-off between


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Reading dumps."""

    pack_bytes: int = 128 * 2**20  # large enough for one read of a chunk, small enough for many processes
    block_bytes: int = 4 * 2**20  # one read of the source
    chain_documents: int = 8  # valid documents in a row that make a candidate a start


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """How a lost worker is noticed. Durations in seconds, judged by the observer's own monotonic clock."""

    beat_seconds: float = 2.0  # a worker raises its beat this often
    lease_seconds: float = 30.0  # no new beat for this long: lost
    sent_seconds: float = 900.0  # sent but not claimed for this long: sent again
    poll_seconds: float = 0.2  # the dispatcher looks this often; a new job waits at most this long


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How much is on the way."""

    window_chunks: int = 16  # sent + running chunks per pool at least; with more workers two messages for each: the
    # queue stays short, so that turns stay fair
    message_chunks: int = 4  # consecutive chunks in one message, at most 8


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """The scoring engine."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    batch_images: int | None = None  # None: chosen for the device; a job keeps the first engine's choice
    compile: bool = False  # networks by torch.compile: a minute per network at each start, other last digits
    decode_threads: int | None = None  # None: one per core
    decode_cap_pixels: int = 2048 * 2048  # above this a picture is decoded scaled down, never below the input size
    refuse_pixels: int = 100_000_000  # above this a picture is an error, before it is decoded
    top_k: int = 10
    resident_seconds: float = (
        600.0  # after a message, go on with sent chunks of the ensemble in memory at most this long
    )
    resident_bytes: int = 8 * 2**30  # weights and tables kept in memory: 14 large networks take 4 GiB


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A scoring worker as a service. Durations in seconds."""

    pool: str = "default"  # whose messages it takes
    ensemble: str = ""  # NAME or NAME@VERSION to load before it is ready; empty: on the first message
    grace_seconds: float = 60.0  # after SIGTERM, to finish or hand back; the pod's grace time is longer
    liveness_file: str = ""  # what the probes read; empty: none is written
    liveness_seconds: float = 5.0  # between two writes of it
    dead_seconds: float = 60.0  # the consumer loop has not written for this long: dead
    stuck_seconds: float = 300.0  # work is there, and the child has not moved for this long: dead


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The API. Durations in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    admin_key: str = ""  # the secret of the first admin key, so that others can be made; from a Secret on a cluster
    source_prefixes: str = ""  # where ingests may read, separated by commas: folders or s3://BUCKET/PREFIX; empty: none
    upload_bytes: int = 32 * 2**20  # of one request
    upload_pictures: int = 16  # of one product
    upload_pixels: int = 50_000_000  # of one picture, judged by its header
    answer_seconds: float = 60.0  # a one-off question waits at most this long
    quota_products: int = 10_000_000  # a tenant's outstanding products: one very large catalog


@dataclass(frozen=True, slots=True)
class LauncherSettings:
    """Training and ingest processes. Durations in seconds."""

    templates: str = ""  # a folder of Job manifests, training.yaml and ingest.yaml; empty: processes of this machine
    poll_seconds: float = 1.0  # on a cluster 10: each look is a list of Jobs and one of pods
    concurrent_runs: int = 1  # on one machine a second one only slows down the first
    ingest_processes: int = 2  # of an ingest whose request names no number


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What services tell about themselves."""

    host: str = "127.0.0.1"
    port: int = 0  # /metrics, /healthz and /readyz of a service other than the gateway; 0: not served
    log_format: str = "text"  # text or json


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Training of one member. Durations in seconds."""

    device: str = "auto"
    processes: int = 1  # that share each batch; on GPUs every one has its own
    checkpoint_seconds: float = 60.0  # work lost at most when a machine dies
    decode_threads: int | None = None  # None: one per core
    cache_bytes: int = 2**30  # decoded pictures that stay in memory: a small dataset is decoded once, not every epoch


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What `gc` still keeps of what nothing names any more. Durations in days."""

    job_days: float = 90.0  # after its end; the newest of a dataset and ensemble stays whatever its age
    run_days: float = 30.0  # after its end; time enough to look into a failed one, or to train the other members
    upload_days: float = 1.0  # a one-off request lasts minutes; this one died
    gc_days: float = 1.0  # between two collections by the leading dispatcher; 0: only by `shelver gc`


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `home` holds the embedded stores."""

    home: Path = Path("shelver-data")
    catalog: str = ""  # documents: empty for SQLite in the home, or mongodb://HOST/DATABASE
    objects: str = ""  # empty for a folder in the home, or s3://BUCKET[/PREFIX]
    queue: str = ""  # empty for a child process, or redis://HOST[:PORT]/DB for Celery
    mongo: MongoSettings = field(default_factory=MongoSettings)
    s3: S3Settings = field(default_factory=S3Settings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    leases: LeaseSettings = field(default_factory=LeaseSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    launcher: LauncherSettings = field(default_factory=LauncherSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    def in_home(self, home: Path) -> "Settings":
        """The same settings for another home."""
        return replace(self, home=home)


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from SHELVER_HOME and SHELVER_<GROUP>_<FIELD>, such as SHELVER_LEASES_LEASE_SECONDS=5.

    Raises BadInputError for a value that does not parse and for a name that no setting has.
    """
    settings, faults = examine(environment)
    if faults:
        raise faults[0]
    return settings


def examine(environment: Mapping[str, str] | None = None) -> tuple[Settings, list[BadInputError]]:
    """As `from_environment`, but what is wrong comes back as faults, and its settings stay at their defaults."""
    given = os.environ if environment is None else environment
    places = {name: given.get(f"{_PREFIX}{name}".upper(), "") for name in _WHERE}
    home = Path(given.get("SHELVER_HOME") or "shelver-data")
    settings = Settings(home, places["catalog"], places["objects"], places["queue"])
    known = {"SHELVER_HOME", *_OF_COMMANDS, *(f"{_PREFIX}{name}".upper() for name in _WHERE)}
    faults = [fault for name, place in places.items() if (fault := _misplaced(name, place))]
    for group in fields(Settings):
        if group.name in ("home", *_WHERE):
            continue
        values: dict[str, Any] = {}
        for item in fields(getattr(settings, group.name)):
            name = f"SHELVER_{group.name}_{item.name}".upper()
            known.add(name)
            if name in given:
                try:
                    values[item.name] = _parse(name, given[name], getattr(getattr(settings, group.name), item.name))
                except BadInputError as fault:
                    faults.append(fault)
        settings = replace(settings, **{group.name: replace(getattr(settings, group.name), **values)})
    unknown = sorted(name for name in given if name.startswith(_PREFIX) and name not in known)
    return settings, faults + [_unknown(name, known) for name in unknown]


def _misplaced(name: str, place: str) -> BadInputError | None:
    scheme, separator, rest = place.partition("://")
    if not place or (separator and rest and scheme in _WHERE[name]):
        return None
    variable = f"{_PREFIX}{name}".upper()
    # a password may stand in it, so that it is not repeated
    return BadInputError(variable, f"it is no {_WHERE[name][0]}:// address", remedy="correct it, or unset it to embed")


def _unknown(name: str, known: Collection[str]) -> BadInputError:
    near = get_close_matches(name.removeprefix(_PREFIX), [one.removeprefix(_PREFIX) for one in known], n=1)
    remedy = (
        f"unset it, or did you mean {_PREFIX}{near[0]}?" if near else "unset it; shared/settings.py has all of them"
    )
    return BadInputError(name, "no setting has this name", remedy=remedy)


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables from which `from_environment` makes equal settings: how a child process gets them."""
    variables = {"SHELVER_HOME": str(settings.home.absolute())}
    for group in fields(Settings):
        if group.name in _WHERE:
            if place := getattr(settings, group.name):
                variables[f"SHELVER_{group.name}".upper()] = place
        elif group.name != "home":
            for item in fields(getattr(settings, group.name)):
                value = getattr(getattr(settings, group.name), item.name)
                if value is not None:
                    variables[f"SHELVER_{group.name}_{item.name}".upper()] = str(value)
    return variables


def _parse(name: str, text: str, default: Any) -> Any:
    kind = int if default is None else type(default)
    if kind is bool:
        if text not in _SWITCH:
            raise BadInputError(name, f"'{text}' is neither true nor false", remedy="correct or unset it")
        return _SWITCH[text]
    words = "whole number" if kind is int else "number"
    try:
        value = kind(text)
    except ValueError:
        raise BadInputError(name, f"'{text}' is no {words}", remedy="correct or unset it") from None
    if kind is not str and not 0 <= value < math.inf:
        raise BadInputError(name, f"'{text}' is no {words} of 0 or more", remedy="correct or unset it")
    return value
