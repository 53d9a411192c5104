"""`python -m services.dispatcher`: drives scoring jobs. Exit codes: 0 asked to go, 2 bad settings."""

import signal
import sys
import threading

from prometheus_client import CollectorRegistry

from services.dispatcher.service import Service
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
    queue = wiring.queue(settings)
    service = Service(wiring.stores(settings), queue, settings, registry)
    end = telemetry.serve_if_asked(settings.telemetry, registry, service.checks())
    try:
        service.run(stop)
    finally:
        end()
        queue.close(grace=_GRACE_SECONDS)
    return 0


_GRACE_SECONDS = 4.0  # for an embedded worker to hand back

if __name__ == "__main__":
    sys.exit(main())
