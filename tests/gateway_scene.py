"""A gateway on embedded stores, served by uvicorn in a thread, and clients with keys of each kind."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from services.gateway.authentication import new_key
from services.gateway.service import Service
from shared import wiring
from shared.domain.errors import FailedError
from shared.ports import Stores
from shared.settings import GatewaySettings, Settings
from tests.ports import free_port

ADMIN = "the first secret of the installation"
_SECONDS = 30.0


@dataclass
class AnsweringQueue:
    """Takes messages and answers questions by a function; the pictures of each question are remembered."""

    objects: Any
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    asked: list[list[bytes]] = field(default_factory=list)
    away: bool = False

    def send(self, message: Mapping[str, Any]) -> None:
        raise AssertionError("a gateway sends no chunks")

    def ask(self, question: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        self.asked.append([self.objects.read(key) for key in question["uploads"]])
        if self.answer is None:
            raise FailedError("no worker answered in time")
        return self.answer(question)

    def check(self) -> None:
        if self.away:
            raise FailedError("the queue is away")

    def waiting(self, pool: str) -> int:
        raise AssertionError("a gateway sends no chunks")

    def lost_workers(self) -> frozenset[str]:
        return frozenset()

    def close(self, *, grace: float) -> None:
        """Nothing is open."""


@dataclass
class Scene:
    """The gateway's address and what lies behind it."""

    url: str
    stores: Stores
    queue: AnsweringQueue
    settings: Settings

    def client(self, scope: str = "submit", tenant: str = "shop") -> httpx2.Client:
        """A client with a key of its own."""
        return self.bare(self.secret(scope, tenant))

    def secret(self, scope: str = "submit", tenant: str = "shop") -> str:
        """That of a new key."""
        key, secret = new_key(tenant, (scope,), "", time.time())
        self.stores.keys.add_key(key)
        return secret

    def bare(self, secret: str = "") -> httpx2.Client:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=_SECONDS)


@contextmanager
def gateway(home: Path, **changes: Any) -> Iterator[Scene]:
    """Serves the home until left; `changes` are gateway settings."""
    served = GatewaySettings(port=free_port(), admin_key=ADMIN, source_prefixes=str(home.parent), **changes)
    settings = replace(Settings(home=home), gateway=served)
    stores = wiring.stores(settings)
    queue = AnsweringQueue(stores.objects)
    checks = wiring.checks(stores, queue)
    service = Service(stores, queue, wiring.buckets(settings), settings, CollectorRegistry(), checks)
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    scene = Scene(f"http://{served.host}:{served.port}", stores, queue, settings)
    try:
        with scene.bare() as client:
            _wait(client, thread)
        yield scene
    finally:
        stop.set()
        thread.join(_SECONDS)
    assert not thread.is_alive()


def _wait(client: httpx2.Client, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        assert thread.is_alive(), "the gateway has ended"
        assert time.monotonic() < deadline, "the gateway does not answer"
        try:
            client.get("/healthz").raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.02)
        else:
            return
