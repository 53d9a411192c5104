"""`python -m workers.training --run RUN --attempt N`: one attempt at a run, for the launcher.

With SHELVER_TRAINING_PROCESSES=N it is the parent of N processes that torchrun starts. Exit codes: 0 complete, 2 bad
configuration or input, 143 preempted (SIGTERM, SIGINT, or the launcher's end of the standard input pipe closed: a
checkpoint is written first; or a store was away), 1 failed. The last line printed is the reason.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from workers.training.preemption import Preemption


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
    from workers.training import orders, process, torchrun
    from workers.training.endings import COMPLETE, Ending, ending_of
    from workers.vision.allocator import keep_freed_memory

    keep_freed_memory()

    def make() -> Ending:
        settings = shared_settings.from_environment()
        objects = wiring.objects(settings)
        order = orders.validate(objects, run, settings.training)
        preemption.defer()
        if settings.training.processes > 1:
            return torchrun.train(run, attempt, settings.training.processes, preempted=preemption.asked)
        around = process.Surroundings(
            objects, settings.training, settings.scoring, time.monotonic, _say, preempted=preemption.asked
        )
        process.train(order, attempt, around)
        return Ending(COMPLETE)

    ending = ending_of(make)
    if ending.reason:
        _say(ending.reason)
    return ending.exit_code


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
