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

    window_chunks: int = 16  # sent + running chunks per pool: keeps the queue short so that turns stay fair
    message_chunks: int = 4  # consecutive chunks in one message, at most 8


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """The scoring engine."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    batch_images: int | None = None  # None: chosen for the device; a job keeps the first engine's choice
    decode_threads: int | None = None  # None: one per core
    decode_cap_pixels: int = 2048 * 2048  # above this a picture is decoded scaled down, never below the input size
    refuse_pixels: int = 100_000_000  # above this a picture is an error, before it is decoded
    top_k: int = 10
    resident_seconds: float = (
        600.0  # after a message, go on with sent chunks of the ensemble in memory at most this long
    )
    resident_engines: int = 2  # ensembles kept in memory: a job and the one-off questions beside it


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Training on one device. Durations in seconds."""

    device: str = "auto"
    checkpoint_seconds: float = 60.0  # work lost at most when a machine dies
    decode_threads: int | None = None  # None: one per core
    cache_bytes: int = 2**30  # decoded pictures that stay in memory: a small dataset is decoded once, not every epoch


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What `gc` still keeps of what nothing names any more. Durations in days."""

    job_days: float = 90.0  # after its end; the newest of a dataset and ensemble stays whatever its age
    run_days: float = 30.0  # after its end; time enough to look into a failed one, or to train the other members
    upload_days: float = 1.0  # a one-off request lasts minutes; this one died


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `home` holds the embedded stores."""

    home: Path = Path("shelver-data")
    ingest: IngestSettings = field(default_factory=IngestSettings)
    leases: LeaseSettings = field(default_factory=LeaseSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
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
    settings = Settings(home=Path(given.get("SHELVER_HOME") or "shelver-data"))
    known = {"SHELVER_HOME"}
    faults: list[BadInputError] = []
    for group in fields(Settings):
        if group.name == "home":
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
        if group.name != "home":
            for item in fields(getattr(settings, group.name)):
                value = getattr(getattr(settings, group.name), item.name)
                if value is not None:
                    variables[f"SHELVER_{group.name}_{item.name}".upper()] = str(value)
    return variables


def _parse(name: str, text: str, default: Any) -> Any:
    kind = int if default is None else type(default)
    words = "whole number" if kind is int else "number"
    try:
        value = kind(text)
    except ValueError:
        raise BadInputError(name, f"'{text}' is no {words}", remedy="correct or unset it") from None
    if kind is not str and not 0 <= value < math.inf:
        raise BadInputError(name, f"'{text}' is no {words} of 0 or more", remedy="correct or unset it")
    return value
