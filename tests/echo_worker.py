"""`python -m tests.echo_worker URL POOL SEEN`: a Celery worker whose tasks only echo, for the suite of the queue."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.adapters import celery_queue

url, pool, seen = sys.argv[1:]


def note(line: Mapping[str, Any]) -> None:
    with open(seen, "a") as file:  # noqa: PTH123 - appended to by several processes
        file.write(json.dumps({"worker": str(os.getpid()), **line}) + "\n")


def handle(message: Mapping[str, Any]) -> None:
    note({"message": message})
    if "die" in message:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(message.get("seconds", 0))


def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
    note({"question": question})
    if "die" in question:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fail" in question:
        raise RuntimeError(question["fail"])
    time.sleep(question.get("seconds", 0))
    return {"echo": question, "worker": str(os.getpid())}


if __name__ == "__main__":
    app = celery_queue.application(url)
    celery_queue.register(app, handle, answer)
    ready = Path(f"{seen}.{pool}.ready")
    celery_queue.work(app, pool, celery_queue.Hooks(turned=ready.touch))
