"""`python -m workers.scoring.service`: a scoring worker that takes a pool's messages from the queue.

This process only fetches; a child computes (`pool_child`). Exit codes: 0 asked to go, 2 bad settings.
"""

import logging
import os
import sys
import threading

from prometheus_client import CollectorRegistry

from shared import logs, telemetry, wiring
from shared.adapters import celery_queue
from shared.domain.errors import BadInputError, FailedError
from shared.settings import Settings, from_environment
from shared.telemetry import WorkerMetrics
from workers.scoring.feed import Ear
from workers.scoring.liveness import Liveness
from workers.scoring.loading import engine_factory
from workers.scoring.pool_child import EngineMaker, PoolChild

log = logging.getLogger(__name__)


def main(engines: EngineMaker = engine_factory) -> int:
    """Work until SIGTERM; the exit code. `engines` makes the engines of jobs."""
    try:
        settings = from_environment()
        if not settings.queue:
            raise BadInputError("SHELVER_QUEUE", "it is not set", remedy="such as redis://HOST:6379/0")
    except BadInputError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.update({name: value for name, value in wiring.COMPUTING.items() if name not in os.environ})
    logs.to_stderr(settings.telemetry.log_format)
    _work(settings, engines)
    return 0


def _work(settings: Settings, engines: EngineMaker) -> None:
    hears, tells = os.pipe()
    stops, asks_to_stop = os.pipe()
    pool, registry = settings.worker.pool, CollectorRegistry()
    ear = Ear(WorkerMetrics(registry), pool)
    ear.start(hears)
    liveness = Liveness(
        settings.worker,
        lambda: celery_queue.backlog(settings.queue, pool),
        child_age=ear.age,
        warm=lambda: ear.warm,
    )
    liveness.start()
    end = telemetry.serve_if_asked(settings.telemetry, registry, _checks(settings, ear))
    child = PoolChild(settings, engines, tells, stops)
    app = celery_queue.application(settings.queue)
    celery_queue.register(app, child.handle, child.answer)

    def stop() -> None:
        log.info("asked to go: what is held is handed back")
        os.write(asks_to_stop, b"\0" * 64)  # one for each child that may still begin
        ending = threading.Timer(settings.worker.grace_seconds, os._exit, [1])
        ending.daemon = True
        ending.start()

    hooks = celery_queue.Hooks(turned=liveness.turned, child_begins=child.begin, stopping=stop)
    try:
        celery_queue.work(app, pool, hooks, turn_seconds=settings.worker.liveness_seconds)
    finally:
        end()


def _checks(settings: Settings, ear: Ear) -> dict[str, telemetry.Check]:
    stores, queue = wiring.stores(settings), wiring.queue(settings)

    def warm() -> None:
        if not ear.warm:
            raise FailedError(f"the ensemble {settings.worker.ensemble} is not in memory yet")

    return wiring.checks(stores, queue) | {"ensemble": warm}


if __name__ == "__main__":
    sys.exit(main())
