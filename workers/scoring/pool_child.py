"""The child of a worker service: the process that computes. It is forked, so nothing is opened before it begins."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from shared import logs, wiring
from shared.domain.errors import ShelverError
from shared.ports import Stores
from shared.settings import Settings
from workers.scoring import telling
from workers.scoring.answers import Answers
from workers.scoring.engines import EngineFactory
from workers.scoring.feed import Mouth
from workers.scoring.worker import EngineFailedError, Worker
from workers.vision.allocator import keep_freed_memory

log = logging.getLogger(__name__)

EngineMaker = Callable[[Stores, Settings], EngineFactory]
_LOADING_SECONDS = 2.0  # between two words while an ensemble loads or compiles
_HAND_BACK_SECONDS = 10.0  # a store that does not answer by then leaves it to the leases


class PoolChild:
    """Handles messages and questions, one at a time."""

    def __init__(self, settings: Settings, engines: EngineMaker, events: int, stop: int) -> None:
        """`events` is the descriptor that events are written to; once `stop` can be read, the child hands back."""
        self._settings = settings
        self._engines = engines
        self._events = events
        self._stop = stop
        self._busy = threading.Lock()  # the resident ensemble may still be loading when the first message comes

    def begin(self) -> None:
        """In the child, once: open the stores, heed the end, and begin to load the resident ensemble."""
        self._tell = Mouth(self._events)
        self._tell({"event": "begun"})
        keep_freed_memory()
        stores = wiring.stores(self._settings)
        self._worker = Worker(
            stores.jobs,
            stores.objects,
            self._engines(stores, self._settings),
            self._settings,
            worker_id=f"{os.uname().nodename}-{uuid.uuid4().hex[:12]}",
            pool=self._settings.worker.pool,
            tell=self._tell,
        )
        self._worker.claims.start()
        self._answers = Answers(stores, self._settings, self._worker.residents)
        threading.Thread(target=self._heed_stop, name="stop", daemon=True).start()
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def handle(self, message: Mapping[str, Any]) -> None:
        """Run a message's chunks. The process ends where the engine failed in a way that nobody foresaw."""
        with self._busy, logs.about(job=str(message["job"])):
            self._tell(telling.moved())
            try:
                with _Going(self._tell):
                    self._worker.handle(message)
            except EngineFailedError:
                os._exit(1)  # what was held is given up; another child starts afresh

    def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer a question."""
        with self._busy, _Going(self._tell):
            return self._answers.answer(question)

    def _warm(self) -> None:
        if ensemble := self._settings.worker.ensemble:
            try:
                with self._busy, _Going(self._tell):
                    self._answers.warm(ensemble)
            except ShelverError as error:
                log.warning("not warm: %s", error)
                return
        self._tell(telling.warm())

    def _heed_stop(self) -> None:
        os.read(self._stop, 1)
        handing_back = threading.Thread(target=self._worker.stop, daemon=True)
        handing_back.start()
        handing_back.join(_HAND_BACK_SECONDS)
        os._exit(0)  # whatever computes or waits has nothing left to do


class _Going:
    """While it lasts, somebody is told that things move: loading and compiling say nothing by themselves."""

    def __init__(self, tell: telling.Tell) -> None:
        self._tell = tell
        self._ended = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_LOADING_SECONDS):
            self._tell(telling.moved())
