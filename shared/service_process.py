"""What every service process does around its work: settings, logs, signals, exit codes."""

import signal
import sys
import threading
from collections.abc import Callable

from shared import logs
from shared.domain.errors import BadInputError, ShelverError
from shared.settings import Settings, from_environment


def serve(run: Callable[[Settings, threading.Event], None]) -> int:
    """Run a service by the environment's settings until SIGTERM or SIGINT sets the event.

    The exit code: 0 it was asked to go, 1 it failed, 2 bad settings.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = from_environment()
        logs.to_stderr(settings.telemetry.log_format)
        run(settings, stop)
    except ShelverError as error:
        sys.stderr.write(f"shelver: {error}\n")
        return 2 if isinstance(error, BadInputError) else 1
    return 0
