"""`python -m services.gateway` serves the API, one process per pod, until SIGTERM or SIGINT."""

import signal
import sys
import threading

from prometheus_client import CollectorRegistry

from services.gateway.service import Service
from shared import logs, wiring
from shared.domain.errors import BadInputError, ShelverError
from shared.settings import from_environment


def main() -> int:
    """Exit codes: 0 stopped, 1 failed, 2 bad settings."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = from_environment()
        logs.to_stderr(settings.telemetry.log_format)
        stores, queue = wiring.stores(settings), wiring.queue(settings)
        checks = wiring.checks(stores, queue)
        service = Service(stores, queue, wiring.buckets(settings), settings, CollectorRegistry(), checks)
        try:
            service.run(stop)
        finally:
            queue.close(grace=0.0)
    except ShelverError as error:
        sys.stderr.write(f"shelver: {error}\n")
        return 2 if isinstance(error, BadInputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
