"""`python -m services.launcher`: trains and ingests what was asked for. Exit codes: 0 asked to go, 1 failed, 2 bad
settings."""

import sys
import threading

from prometheus_client import CollectorRegistry

from services.launcher.service import Service
from shared import telemetry, wiring
from shared.service_process import serve
from shared.settings import Settings


def run(settings: Settings, stop: threading.Event) -> None:
    """Until `stop` is set."""
    registry = CollectorRegistry()
    service = Service(wiring.stores(settings), wiring.launcher(settings), settings, registry)
    end = telemetry.serve_if_asked(settings.telemetry, registry, service.checks())
    try:
        service.run(stop)
    finally:
        end()


if __name__ == "__main__":
    sys.exit(serve(run))
