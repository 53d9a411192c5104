"""`python -m services.launcher`: trains and ingests what was asked for. Exit codes: 0 asked to go, 2 bad settings."""

import signal
import sys
import threading

from prometheus_client import CollectorRegistry

from services.launcher.service import Service
from shared import logs, telemetry, wiring
from shared.domain.errors import BadInputError
from shared.settings import from_environment


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = from_environment()
    except BadInputError as error:
        print(error, file=sys.stderr)
        return 2
    logs.to_stderr(settings.telemetry.log_format)
    registry = CollectorRegistry()
    service = Service(wiring.stores(settings), wiring.launcher(settings), settings, registry)
    end = telemetry.serve_if_asked(settings.telemetry, registry, service.checks())
    try:
        service.run(stop)
    finally:
        end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
