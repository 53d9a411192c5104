"""The dispatcher as a service: of any number of replicas one leads, drives all jobs and tells about them."""

import logging
import threading
import time
import uuid
from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from services.dispatcher.collection import Collection
from services.dispatcher.dispatcher import MOST_BACK_OFF, Dispatcher
from services.dispatcher.observations import Observations
from shared import wiring
from shared.domain.errors import ShelverError, StoreUnavailableError
from shared.leadership import DISPATCHER, Leadership
from shared.ports import Clock, Queue, Stores
from shared.settings import Settings
from shared.telemetry import Check, JobMetrics

log = logging.getLogger(__name__)


class Service:
    """Drives all jobs of the stores while it leads. What it leaves undone, any other goes on with."""

    def __init__(
        self,
        stores: Stores,
        queue: Queue,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
    ) -> None:
        """`clock` judges durations, `now` is written into rows for people to read."""
        self._stores = stores
        self._queue = queue
        self._settings = settings
        self._leadership = Leadership(
            stores.leases, DISPATCHER, settings.leases, holder=uuid.uuid4().hex[:12], clock=clock
        )
        self._clock, self._now = clock, now
        self._metrics = JobMetrics(registry)
        self._dispatcher = self._new_dispatcher()
        self._observations = Observations(stores.jobs, self._metrics, clock)
        self._collection = Collection(stores, settings.retention, clock=clock, now=now)
        self._led = False

    def checks(self) -> Mapping[str, Check]:
        """What it depends on, for /readyz."""
        return wiring.checks(self._stores, self._queue)

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set, then let another one lead. A store or queue that is away is waited for."""
        poll = self._settings.leases.poll_seconds
        wait, away = poll, ""
        while not stop.is_set():
            try:
                self.step()
                if away:
                    log.warning("back again, after: %s", away)
                wait, away = poll, ""
            except StoreUnavailableError as error:
                self._leadership.forget()
                wait = min(2 * wait, MOST_BACK_OFF)
                if not away:
                    log.warning("waiting until it is back: %s", error)
                away = str(error)
            stop.wait(wait)
        try:
            self._leadership.hand_over()
        except StoreUnavailableError as error:
            log.warning("another one leads after a lease time only: %s", error)

    def step(self) -> None:
        """Lead or follow, once. Raises StoreUnavailableError."""
        leads = self._leadership.lead()
        if leads != self._led:
            log.info("this dispatcher leads" if leads else "another dispatcher leads")
            self._led = leads
            self._dispatcher = self._new_dispatcher()  # what it remembers of leases is of another time
            self._observations.forget()
        self._metrics.leader.set(leads)
        if not leads:
            return
        try:
            self._dispatcher.step()
        finally:
            self._observations.look(self._dispatcher)
        try:
            self._collection.collect_if_due()
        except StoreUnavailableError:
            raise
        except ShelverError as error:
            log.warning("nothing was collected: %s", error)

    def _new_dispatcher(self) -> Dispatcher:
        stores = self._stores
        return Dispatcher(stores.jobs, stores.objects, self._queue, self._settings, clock=self._clock, now=self._now)
