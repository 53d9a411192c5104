"""The launcher as a service: follows the rows of trainings and ingests that were asked for, and polls its processes."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from services.launcher import training as steps
from services.launcher.ingests import Ingests
from services.launcher.observations import Observations
from services.launcher.reconciler import Reconciler
from shared import logs, wiring
from shared.domain import runs as rules
from shared.domain.errors import BadInputError, NewerSchemaError, ShelverError, StoreUnavailableError
from shared.domain.records import Run, Training
from shared.leadership import LAUNCHER, Leadership
from shared.ports import Clock, Launched, Launcher, Stores
from shared.settings import Settings
from shared.telemetry import Check, TrainingMetrics

log = logging.getLogger(__name__)

_MOST_WAIT = 10.0  # seconds between two looks while a store is away
_OBSERVED_SECONDS = 5.0


class Service:
    """Drives all trainings and ingests of the stores while it leads. What it leaves undone, any other goes on with."""

    def __init__(
        self,
        stores: Stores,
        launcher: Launcher,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
    ) -> None:
        """`clock` judges durations, `now` is written into rows for people to read."""
        self._stores = stores
        self._launcher = launcher
        self._settings = settings.launcher
        self._leadership = Leadership(
            stores.leases, LAUNCHER, settings.leases, holder=uuid.uuid4().hex[:12], clock=clock
        )
        self._led = False
        self._clock = clock
        self._now = now
        self._reconciler = Reconciler(stores.runs, stores.objects, launcher, clock=now)
        self._ingests = Ingests(stores.catalog, stores.objects, launcher)
        self._observations = Observations(stores, TrainingMetrics(registry))
        self._observed = float("-inf")
        self._prepared: set[str] = set()
        self._reasons: dict[str, str] = {}

    def checks(self) -> Mapping[str, Check]:
        """What it depends on, for /readyz."""
        return wiring.checks(self._stores) | {"launcher": self._launcher.check}

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set, then let another one lead. A store that is away is waited for."""
        wait = self._settings.poll_seconds
        while not stop.is_set():
            try:
                self.step()
                wait = self._settings.poll_seconds
            except StoreUnavailableError as error:
                self._leadership.forget()
                wait = min(max(2 * wait, 1.0), _MOST_WAIT)
                log.warning("waiting %.1f s: %s", wait, error)
            stop.wait(wait)
        try:
            self._leadership.hand_over()
        except StoreUnavailableError as error:
            log.warning("another one leads after a lease time only: %s", error)

    def step(self) -> None:
        """Lead or follow, once. Raises StoreUnavailableError."""
        leads = self._leadership.lead()
        if leads != self._led:
            log.info("this launcher leads" if leads else "another launcher leads")
            self._led = leads
        if not leads:
            return
        processes = self._launcher.status()
        self._tell(processes)
        self._ingests.step(processes)
        self._trainings(processes)
        self._reconciler.sweep(processes)
        if self._clock() - self._observed >= _OBSERVED_SECONDS:
            self._observed = self._clock()
            self._observations.look()

    def _tell(self, processes: Mapping[str, Launched]) -> None:
        """Log why processes wait or ended, where that is new."""
        reasons = {name: process.reason for name, process in processes.items() if process.reason}
        for name, reason in reasons.items():
            if self._reasons.get(name) != reason:
                log.info("%s: %s", name, reason)
        self._reasons = reasons

    def _trainings(self, processes: Mapping[str, Launched]) -> None:
        rows: dict[str, dict[str, Run]] = {}
        running = [training for training in self._stores.runs.trainings() if training.state == "running"]
        for training in running:
            with self._answering(training):
                self._prepare(training)
                found = self._reconciler.advance(training, processes)
                if not self._settle(training, found):
                    rows[training.id] = found
        busy = {run.id for of_one in rows.values() for run in of_one.values() if run.state == "running"}
        for training in (training for training in running if training.id in rows):
            with self._answering(training):
                room = self._settings.concurrent_runs - len(busy)
                busy |= self._reconciler.launch(training, rows[training.id], processes, room=room)
        self._prepared &= rows.keys()

    @contextmanager
    def _answering(self, training: Training) -> Iterator[None]:
        """What is wrong with one training ends that one alone."""
        try:
            with logs.about(training=training.id):
                yield
        except StoreUnavailableError:
            raise
        except NewerSchemaError as error:
            log.warning("training %s is left to a newer Shelver: %s", training.id, error)
        except ShelverError as error:
            log.warning("training %s failed: %s", training.id, error)
            failed = rules.fail_training(training, str(error), bad_input=isinstance(error, BadInputError))
            self._stores.runs.swap_training(training, failed)

    def _prepare(self, training: Training) -> None:
        """Write what its runs need, when it is first seen."""
        if training.id not in self._prepared:
            steps.prepare(self._stores, training)
            self._prepared.add(training.id)
            log.info("training %s of %s on %s goes on", training.id, training.ensemble, training.dataset)

    def _settle(self, training: Training, rows: dict[str, Run]) -> bool:
        """End a training that has failed or is complete; whether it was one."""
        if failed := rules.failure(rows):
            steps.fail(self._stores.runs, self._reconciler, training, rows, failed)
            log.warning("training %s failed: %s: %s", training.id, failed.member, failed.reason)
        elif all(run.state == "complete" for run in rows.values()):
            version = steps.complete(self._stores, training, self._now())
            log.info("training %s is complete: %s", training.id, version.version if version else "no version yet")
        else:
            return False
        return True
