import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from workers.training.tensorboard import event_file, file_name

STARTED = 1_700_000_000.25


def crc32c(content: bytes) -> int:
    """Castagnoli's CRC bit by bit: its reflected polynomial is 0x82F63B78 (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(content: bytes) -> Iterator[Event]:
    at = 0
    while at < len(content):
        length, check = struct.unpack_from("<QI", content, at)
        assert check == masked(content[at : at + 8])
        event = content[at + 12 : at + 12 + length]
        assert len(event) == length
        assert struct.unpack_from("<I", content, at + 12 + length) == (masked(event),)
        yield Event.FromString(event)
        at += 16 + length


def step(number: int, **changes: object) -> dict[str, Any]:
    line = {"schema": 1, "kind": "step", "epoch": 1, "step": number, "loss": 1.5, "accuracy": 0.25, "rate": 0.125}
    return line | {"images_per_second": 40.0, "seconds": number / 4} | changes


def test_the_crc_of_this_test_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_every_scalar_of_the_log_is_there_with_its_step_and_time() -> None:
    watch = {
        "images": 7,
        "products": 5,
        "loss": 2.5,
        "image_top1": 0.5,
        "product_top5": 0.75,
        "f1": None,
        "half": {"precision": 1.0, "recall": 0.25},
    }
    lines = [
        step(50),
        step(60, kind="epoch", top5=0.875, watch=watch),
        step(70, kind="epoch", top5=0.5, watch=None),
        {"schema": 1, "kind": "stopped", "epoch": 2, "step": 70, "best_epoch": 1},
    ]
    head, *events = events_of(event_file(lines, STARTED))
    assert (head.file_version, head.wall_time) == ("brain.Event:2", STARTED)
    assert [(event.step, event.wall_time) for event in events] == [
        (50, STARTED + 12.5),
        (60, STARTED + 15),
        (70, STARTED + 17.5),
    ]
    plain = {"training/loss": 1.5, "training/accuracy": 0.25, "rate": 0.125, "images_per_second": 40.0}
    shares = {"watch/loss": 2.5, "watch/image_top1": 0.5, "watch/product_top5": 0.75}
    halves = {"watch/half/precision": 1.0, "watch/half/recall": 0.25}
    found = [{value.tag: value.simple_value for value in event.summary.value} for event in events]
    assert found == [plain, {**plain, "training/top5": 0.875, **shares, **halves}, {**plain, "training/top5": 0.5}]


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
log_lines = st.lists(st.builds(step, st.integers(0, 2**62), loss=finite, seconds=st.floats(0, 1e6)), max_size=12)


@settings(max_examples=40)
@given(log_lines, st.integers(0, 12))
def test_a_longer_log_begins_with_the_bytes_of_a_shorter_one(lines: list[dict[str, Any]], cut: int) -> None:
    whole = event_file(lines, STARTED)
    assert whole == event_file([dict(line) for line in lines], STARTED)
    assert whole.startswith(event_file(lines[:cut], STARTED))
    _, *events = events_of(whole)
    assert [event.step for event in events] == [line["step"] for line in lines]
    losses = [event.summary.value[0].simple_value for event in events]
    assert losses == pytest.approx([line["loss"] for line in lines])


def test_its_name_is_one_that_tensorboard_looks_for() -> None:
    assert file_name("0123abcd", STARTED) == "events.out.tfevents.1700000000.0123abcd"
