"""`python -m services.dispatcher`: drives scoring jobs. Exit codes: 0 asked to go, 1 failed, 2 bad settings."""

import sys
import threading

from prometheus_client import CollectorRegistry

from services.dispatcher.service import Service
from shared import telemetry, wiring
from shared.service_process import serve
from shared.settings import Settings

_GRACE_SECONDS = 4.0  # for an embedded worker to hand back


def run(settings: Settings, stop: threading.Event) -> None:
    """Until `stop` is set."""
    registry = CollectorRegistry()
    queue = wiring.queue(settings)
    service = Service(wiring.stores(settings), queue, settings, registry)
    end = telemetry.serve_if_asked(settings.telemetry, registry, service.checks())
    try:
        service.run(stop)
    finally:
        end()
        queue.close(grace=_GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(serve(run))
