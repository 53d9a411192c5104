"""Logging for processes without a terminal: one line per event on standard error."""

import logging
import sys


def to_stderr(level: int = logging.INFO) -> None:
    """Send log records to standard error, once per process."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
