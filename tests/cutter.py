"""A proxy that cuts each connection after so many bytes of what the server answers."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_BLOCK = 4096
_SECONDS = 30.0


class Cutter:
    """Stands before the server at `url` until it is left; `cut` counts what it has cut."""

    def __init__(self, url: str, most: int) -> None:
        """`most` bytes of answers per connection."""
        at = urlsplit(url)
        self._upstream = (at.hostname or "", at.port or 80)
        self._most = most
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cut = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(_SECONDS)
        self._listening.close()

    def _serve(self) -> None:
        pairs = []
        with suppress(OSError):  # it was shut down
            while True:
                client, _ = self._listening.accept()
                pairs.append(threading.Thread(target=self._pair, args=(client,)))
                pairs[-1].start()
        for pair in pairs:
            pair.join(_SECONDS)

    def _pair(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream, _SECONDS) as server:
            asking = threading.Thread(target=_copy, args=(client, server.sendall))
            asking.start()
            self._answer(client, server)
            for end in (client, server):
                with suppress(OSError):  # the other side was faster
                    end.shutdown(socket.SHUT_RDWR)
            asking.join(_SECONDS)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        left = self._most
        with suppress(OSError):
            while left and (piece := server.recv(min(left, _BLOCK))):
                client.sendall(piece)
                left -= len(piece)
        self.cut += not left


def _copy(source: socket.socket, send: Callable[[bytes], object]) -> None:
    with suppress(OSError):
        while piece := source.recv(_BLOCK):
            send(piece)
