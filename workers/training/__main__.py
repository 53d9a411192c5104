"""`python -m workers.training --run RUN --attempt N`: one attempt at a run, for the launcher.

Exit codes: 0 complete, 2 bad configuration or input, 143 preempted (SIGTERM, SIGINT, or the launcher's end of the
standard input pipe closed: a checkpoint is written first; or a store was away), 1 failed. The last line printed is the
reason.
"""

import argparse
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Sequence

PREEMPTED = 143


class Preemption:
    """Whether the process was asked to go. Until `defer` is called there is nothing to save and it goes at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._deferred = False

    def watch(self) -> None:
        """Listen to signals, and to standard input where it is a pipe: its end means that the launcher died."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ask())
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=self._on_closed_pipe, name="launcher watch", daemon=True).start()

    def defer(self) -> None:
        """From now on someone calls `asked` between two steps."""
        self._deferred = True
        if self._asked.is_set():
            os._exit(PREEMPTED)

    def asked(self) -> bool:
        """Whether it is time to save and go."""
        return self._asked.is_set()

    def _on_closed_pipe(self) -> None:
        while os.read(0, 4096):
            pass
        self._ask()

    def _ask(self) -> None:
        self._asked.set()
        if not self._deferred:
            os._exit(PREEMPTED)


def main(arguments: Sequence[str]) -> int:
    """One attempt; the exit code."""
    preemption = Preemption()
    preemption.watch()
    parser = argparse.ArgumentParser(prog="python -m workers.training", description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--attempt", required=True, type=int)
    given = parser.parse_args(arguments)
    return _attempt(given.run, given.attempt, preemption)


def _attempt(run: str, attempt: int, preemption: Preemption) -> int:
    # Imported here because torch takes seconds, in which a signal must already be heeded.
    from shared import settings as shared_settings
    from shared import wiring
    from shared.domain.errors import BadInputError, NotFoundError, ShelverError, StoreUnavailableError
    from workers.training import process
    from workers.training.preemption import PreemptedError

    try:
        settings = shared_settings.from_environment()
        objects = wiring.objects(settings)
        order = process.validate(objects, run, settings.training)
        preemption.defer()
        process.train(
            order,
            attempt,
            process.Surroundings(
                objects, settings.training, settings.scoring, time.monotonic, _say, preempted=preemption.asked
            ),
        )
    except PreemptedError:
        _say("preempted: a checkpoint is written")
        return PREEMPTED
    except StoreUnavailableError as error:  # no fault of the run's: it goes on when the store is back
        _say(str(error))
        return PREEMPTED
    except (BadInputError, NotFoundError) as error:
        _say(str(error))
        return 2
    except ShelverError as error:
        _say(str(error))
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
