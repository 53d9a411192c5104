"""The process that writes packs: `python -m services.ingest.worker FILE-DESCRIPTOR`, started by `Processes`."""

import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from services.ingest.ranges import write_range
from shared.domain.errors import ShelverError, StoreUnavailableError


def main(descriptor: int) -> None:
    """Write packs until the other end of the socket closes."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # unwinds, so that no file is left half-written
    connection = Connection(descriptor)

    def advance(read: int, documents: int, bad: int) -> None:
        connection.send(("advance", read, documents, bad))

    with suppress(EOFError, ConnectionError):
        target, dump = connection.recv()
        while True:
            number, start = connection.recv()
            try:
                connection.send(("account", write_range(target, dump, number, start, advance)))
            except ShelverError as error:
                connection.send(("store" if isinstance(error, StoreUnavailableError) else "failed", str(error)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
