"""A run's log as TensorBoard reads it: one event file, rendered whole, so that equal logs give equal bytes."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

_FILE_VERSION = "brain.Event:2"
_TRAINING = ("loss", "accuracy", "top5")
_PLAIN = ("rate", "images_per_second")
_COUNTS = ("images", "products")  # of the watch part: how many there are, not how well they are answered


def file_name(run: str, started: float) -> str:
    """The name under which TensorBoard looks for the event file of a run that started at `started`."""
    return f"events.out.tfevents.{int(started)}.{run}"


def event_file(lines: Sequence[Mapping[str, Any]], started: float) -> bytes:
    """The event file of a run's log lines, in their order; what has no value (None) is left out.

    One event a line: its step is the global step, its time `started` (seconds since the epoch) plus the line's
    `seconds`, its scalars `training/loss`, `training/accuracy`, `training/top5`, `rate`, `images_per_second` and
    `watch/...` for each share of the watch part. A longer log begins with the bytes of a shorter one.
    """
    head = Event(wall_time=started, file_version=_FILE_VERSION)
    return b"".join([_record(head), *(_record(event) for event in _events(lines, started))])


def _events(lines: Sequence[Mapping[str, Any]], started: float) -> Iterator[Event]:
    for line in lines:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(line)]
        if values:
            wall_time = started + line["seconds"]
            yield Event(wall_time=wall_time, step=line["step"], summary=Summary(value=values))


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if line["kind"] not in ("step", "epoch"):
        return
    found = {f"training/{name}": line.get(name) for name in _TRAINING} | {name: line.get(name) for name in _PLAIN}
    watch = line.get("watch") or {}
    for name, value in watch.items():
        if isinstance(value, Mapping):
            found |= {f"watch/{name}/{inner}": share for inner, share in value.items()}
        elif name not in _COUNTS:
            found[f"watch/{name}"] = value
    yield from ((tag, float(value)) for tag, value in found.items() if value is not None)


def _record(event: Event) -> bytes:
    """The TFRecord of an event: length and bytes, each with its masked CRC-32C, little-endian."""
    content: bytes = event.SerializeToString(deterministic=True)
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc32c(length)) + content + struct.pack("<I", masked_crc32c(content))
