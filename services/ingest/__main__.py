"""`python -m services.ingest --dataset D --index I --count N`: one of the N processes that share an ingest.

Exit codes: 0 its share is written (and the dataset complete, if all are), 2 bad settings or input, 143 asked to go
(SIGTERM, SIGINT, or the launcher's end of the standard input pipe closed), 1 failed. What is written stays: the same
command goes on. The last line printed is the reason.
"""

import argparse
import logging
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Sequence

from services.ingest import share
from shared import logs, wiring
from shared.domain.errors import BadInputError, ShelverError, StoreUnavailableError
from shared.settings import Settings, from_environment

PREEMPTED = 143
_MOST_WAIT = 10.0  # seconds between two tries while a store is away

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """One share; the exit code."""
    _heed_signals()
    parser = argparse.ArgumentParser(prog="python -m services.ingest", description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--index", required=True, type=int)
    parser.add_argument("--count", required=True, type=int)
    given = parser.parse_args(arguments)
    try:
        settings = from_environment()
        logs.to_stderr(settings.telemetry.log_format)
        with logs.about(dataset=given.dataset):
            _say(_share(settings, given.dataset, given.index, given.count))
    except BadInputError as error:
        _say(str(error))
        return 2
    except ShelverError as error:
        _say(str(error))
        return 1
    return 0


def _share(settings: Settings, dataset: str, index: int, count: int) -> str:
    """The share, for as long as it takes while stores come and go."""
    stores = wiring.stores(settings)
    buckets = wiring.buckets(settings)
    wait = 1.0
    while True:
        try:
            return share.run(stores, settings.ingest, dataset, index, count, buckets=buckets)
        except StoreUnavailableError as error:
            log.warning("waiting %.0f s: %s", wait, error)
            time.sleep(wait)
            wait = min(2 * wait, _MOST_WAIT)


def _heed_signals() -> None:
    """SIGTERM and SIGINT unwind, so that nothing is left half-written; a launcher that dies here counts as one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(PREEMPTED))
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_on_closed_pipe, name="launcher watch", daemon=True).start()


def _on_closed_pipe() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
