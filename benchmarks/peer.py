"""`python -m benchmarks.peer`: scoring as it is usually put on Celery, one message and one row per image.

Pictures come from the same object store by the same client, are decoded and scored by the same functions, and rows go
into SQLite by the same adapter. Celery runs with its own defaults and a process per core. Settings are Shelver's.
"""

from functools import cache
from pathlib import Path

import torch
from celery import Celery

from benchmarks import networks
from benchmarks.stub_service import STUB_SIZE
from shared import wiring
from shared.adapters.sqlite import Database
from shared.ports import Objects
from shared.settings import Settings, from_environment
from workers.vision.decode import DecodeLimits, decode
from workers.vision.devices import cores
from workers.vision.preprocessing import resize

TASK = "peer.score"
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (product INTEGER PRIMARY KEY, class INTEGER NOT NULL, probability REAL NOT NULL);
"""


def application(settings: Settings) -> Celery:
    app = Celery("peer", broker=settings.queue, set_as_current=False)
    app.conf.task_ignore_result = True
    return app


def database(settings: Settings) -> Database:
    return Database(Path(settings.home) / "peer.sqlite", _TABLE)


@cache
def _network() -> networks.Network:
    torch.set_num_threads(1)  # there is a process per core
    return networks.stub(size=STUB_SIZE)


@torch.inference_mode()
def _score(content: bytes) -> tuple[int, float]:
    network = _network()
    given = network.input
    pixels = torch.from_numpy(decode(content, DecodeLimits(smallest=given.size)))
    inputs = resize([pixels], given, torch.device("cpu"))
    probability, best = network.module(inputs).double().softmax(1).max(1)
    return int(best), float(probability)


def _work(settings: Settings) -> None:
    app = application(settings)
    objects: Objects = wiring.objects(settings)
    answers = database(settings)

    @app.task(name=TASK)
    def score(product: int, key: str, offset: int, length: int) -> None:
        best, probability = _score(objects.read(key, offset, length))
        answers.write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (product, best, probability))

    app.worker_main(["worker", "--pool=prefork", f"--concurrency={cores()}", "--loglevel=WARNING"])


if __name__ == "__main__":
    _work(from_environment())
