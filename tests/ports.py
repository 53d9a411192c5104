"""Ports of this machine for servers that tests start."""

import random
import socket

_BELOW_CLIENTS = range(20_000, 32_000)
"""Linux gives none of these to an outgoing connection. One that it gives can be taken while its server is away, even by
a client that connects to it again and again, gets that very port and so reaches itself."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    for port in random.SystemRandom().sample(_BELOW_CLIENTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"100 ports of {host} are all taken")
