"""`python -m services.gateway` serves the API, one process per pod. Exit codes: 0 asked to go, 1 failed, 2 settings."""

import sys
import threading

from prometheus_client import CollectorRegistry

from services.gateway.service import Service
from shared import wiring
from shared.service_process import serve
from shared.settings import Settings


def run(settings: Settings, stop: threading.Event) -> None:
    """Until `stop` is set."""
    stores, queue = wiring.stores(settings), wiring.queue(settings)
    checks = wiring.checks(stores, queue)
    service = Service(stores, queue, wiring.buckets(settings), settings, CollectorRegistry(), checks)
    try:
        service.run(stop)
    finally:
        queue.close(grace=0.0)


if __name__ == "__main__":
    sys.exit(serve(run))
