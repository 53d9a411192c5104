"""Logging for processes without a terminal: one line per event on standard error, as text or as JSON.

What an event is about (job, chunk, request) is set once with `about` and stands in every line until it is left.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_about: ContextVar[dict[str, str]] = ContextVar("about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Within it, every line of this thread or task names these ids, such as `job` and `chunk`."""
    token = _about.set(_about.get() | ids)
    try:
        yield
    finally:
        _about.reset(token)


def to_stderr(form: str = "text", level: int = logging.INFO) -> None:
    """Send log records to standard error, once per process; `form` is text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    logging.basicConfig(level=level, handlers=[handler])


class Lines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """The line, with what it is about behind it."""
        ids = " ".join(f"{name}={value}" for name, value in _about.get().items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")


class JsonLines(logging.Formatter):
    """For log stores: one JSON object per line, times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, the ids it is about; `error` with a traceback where there is one."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_about.get(),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)
