"""The gateway as a service: one uvicorn server, in a process of its own or in a thread of `shelver up`."""

import threading
from collections.abc import Mapping

import uvicorn
from prometheus_client import CollectorRegistry

from services.gateway.application import create_app
from services.gateway.authentication import add_first_key
from services.gateway.context import Context
from shared.dumps import Buckets
from shared.ports import Queue, Stores
from shared.settings import Settings
from shared.telemetry import Check, GatewayMetrics

_GRACE_SECONDS = 30  # to answer what was asked before SIGTERM; a longer stream is cut, and goes on by `after`
_POLL_SECONDS = 0.2


class _Server(uvicorn.Server):
    """A server that leaves signals alone: whoever runs it says when to stop."""

    def install_signal_handlers(self) -> None:
        """None."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        return nullcontext()


class Service:
    """Serves the API on `settings.gateway.host` and `.port` until it is told to stop."""

    def __init__(
        self,
        stores: Stores,
        queue: Queue,
        buckets: Buckets,
        settings: Settings,
        registry: CollectorRegistry,
        checks: Mapping[str, Check],
    ) -> None:
        """`registry` is what /metrics tells, `checks` what /readyz asks."""
        self._context = Context(stores, queue, buckets, settings, GatewayMetrics(registry))
        gateway = settings.gateway
        config = uvicorn.Config(
            create_app(self._context, registry, checks),
            host=gateway.host,
            port=gateway.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            server_header=False,
        )
        self._server = _Server(config)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then answer what has been asked. Raises StoreUnavailableError, FailedError."""
        if secret := self._context.settings.gateway.admin_key:
            add_first_key(self._context.stores.keys, secret, self._context.now())
        watching = threading.Thread(target=self._watch, args=(stop,), name="gateway stop", daemon=True)
        watching.start()
        self._server.run()

    def _watch(self, stop: threading.Event) -> None:
        stop.wait()
        self._server.should_exit = True
