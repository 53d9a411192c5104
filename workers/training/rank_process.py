"""`python -m workers.training.rank_process RUN ATTEMPT FOLDER`: one rank, for `workers.training.torchrun`.

It leaves its ending in the folder, unless it is killed or only follows another rank that was lost. No options:
torchrun would take them for its own.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workers.training.preemption import Preemption


def main(arguments: Sequence[str]) -> int:
    """This rank's part of an attempt; the exit code."""
    preemption = Preemption()
    preemption.watch()
    parser = argparse.ArgumentParser(prog="python -m workers.training.rank_process", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("attempt", type=int)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    return _attempt(given.run, given.attempt, given.folder, int(os.environ["LOCAL_RANK"]), preemption)


def _attempt(run: str, attempt: int, folder: Path, rank: int, preemption: Preemption) -> int:
    # Imported here because torch takes seconds, in which a signal must already be heeded.
    from dataclasses import replace

    import torch

    from shared import settings as shared_settings
    from shared import wiring
    from workers.training import orders, process, ranks, torchrun
    from workers.training.endings import COMPLETE, FAILED, Ending, ending_of
    from workers.vision.allocator import keep_freed_memory
    from workers.vision.devices import resolve_device

    keep_freed_memory()

    def make() -> Ending:
        settings = shared_settings.from_environment()
        objects = wiring.objects(settings)
        training = settings.training
        if resolve_device(training.device).type == "cuda":
            torch.cuda.set_device(rank)  # else each rank would also take memory of the first GPU
            training = replace(training, device=f"cuda:{rank}")
        order = orders.validate(objects, run, training)
        preemption.defer()
        around = process.Surroundings(
            objects,
            training,
            settings.scoring,
            time.monotonic,
            _say if rank == 0 else lambda _: None,  # it says it for all
            preempted=preemption.asked,
            ranks=ranks.join(order.device.device),
        )
        process.train(order, attempt, around)
        return Ending(COMPLETE)

    try:
        ending = ending_of(make)
    except ranks.LostRankError:
        raise
    except Exception as error:
        torchrun.leave(folder, rank, Ending(FAILED, f"{type(error).__name__}: {error}"))
        raise
    torchrun.leave(folder, rank, ending)
    return ending.exit_code


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
