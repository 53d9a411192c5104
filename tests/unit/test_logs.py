"""Lines of services: what they are about stands in each, as text and as JSON."""

import json
import logging
import sys

import pytest

from shared import logs


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("services.dispatcher", logging.WARNING, __file__, 1, message, values, info)


def test_a_line_names_what_it_is_about_until_that_is_left() -> None:
    with logs.about(job="j1"):
        with logs.about(chunk="c1"):
            assert logs.Lines().format(record("%s lost", "a chunk")).endswith(": a chunk lost [job=j1 chunk=c1]")
        assert logs.Lines().format(record("going on")).endswith(": going on [job=j1]")
    assert logs.Lines().format(record("idle")).endswith(": idle")


def test_a_json_line_has_the_ids_as_fields() -> None:
    with logs.about(request="r1"):
        event = json.loads(logs.JsonLines().format(record('told "%s"', "nö")))
    assert event.pop("time").endswith("+00:00")
    assert event == {"level": "warning", "logger": "services.dispatcher", "message": 'told "nö"', "request": "r1"}


def test_an_error_keeps_its_traceback_on_one_line() -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        line = logs.JsonLines().format(record("failed", error=error))
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: bad")


def test_a_process_logs_to_standard_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.to_stderr("json")
    logging.getLogger("x").info("hello")
    assert json.loads(capsys.readouterr().err)["message"] == "hello"
    assert root.handlers[0].stream is sys.stderr  # type: ignore[attr-defined]
