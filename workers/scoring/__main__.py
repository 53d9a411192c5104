"""The scoring worker as a child process: JSON lines in and out, see `shared.adapters.child`."""

import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO

from shared import logs, wiring
from shared.domain.errors import ShelverError
from shared.ports import Stores
from shared.settings import Settings, from_environment
from workers.scoring.answers import Answers
from workers.scoring.engines import EngineFactory
from workers.scoring.loading import engine_factory
from workers.scoring.worker import EngineFailedError, Worker
from workers.vision.allocator import keep_freed_memory

log = logging.getLogger(__name__)

HAND_BACK_SECONDS = 2.0  # a store that does not answer by then leaves it to the leases


def main(engines: Callable[[Stores, Settings], EngineFactory] = engine_factory) -> int:
    """Take messages until standard input closes or SIGTERM comes; 1 after a failure of the engine."""
    answers_to = _private_stdout()
    terminated = _sigterm_pipe()
    logs.to_stderr()
    keep_freed_memory()
    settings = from_environment()
    stores = wiring.stores(settings)
    worker_id = sys.argv[1] if len(sys.argv) > 1 else f"worker-{uuid.uuid4().hex[:12]}"
    worker = Worker(stores.jobs, stores.objects, engines(stores, settings), settings, worker_id=worker_id)
    worker.claims.start()
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(worker, lines), daemon=True).start()
    threading.Thread(target=_wait_for_sigterm, args=(terminated, worker), daemon=True).start()
    _say(answers_to, {"hello": worker_id})
    answers = Answers(stores, settings, worker.residents)
    while True:
        line = json.loads(lines.get())
        if "question" in line:
            _say(answers_to, {"id": line["id"]} | _answer(answers, line["question"]))
            continue
        try:
            worker.handle(line["message"])
        except EngineFailedError:
            return 1


def _answer(answers: Answers, question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": answers.answer(question)}
    except ShelverError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("no answer")
        return {"error": f"{type(error).__name__}: {error}"}


def _private_stdout() -> BinaryIO:
    """Standard output for answers alone: whatever else prints there goes to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def _say(answers_to: BinaryIO, line: Mapping[str, Any]) -> None:
    answers_to.write(json.dumps(line).encode() + b"\n")


def _read(worker: Worker, lines: "SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    _leave(worker)  # the parent is gone


def _sigterm_pipe() -> int:
    """A file descriptor that gets a byte on SIGTERM, however long the main thread is busy outside Python."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reading


def _wait_for_sigterm(terminated: int, worker: Worker) -> None:
    os.read(terminated, 1)
    _leave(worker)


def _leave(worker: Worker) -> None:
    """Hand back and exit at once: whatever computes or waits has nothing left to do."""
    handing_back = threading.Thread(target=worker.stop, daemon=True)
    handing_back.start()
    handing_back.join(HAND_BACK_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
