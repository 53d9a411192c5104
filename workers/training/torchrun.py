"""A training in several processes: torchrun starts them, and what they say themselves is what it came to.

torchrun ends with 1 whatever its processes ended with, so each of them leaves its ending in a file.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from workers.training.endings import BAD_INPUT, COMPLETE, FAILED, Ending
from workers.training.preemption import PREEMPTED
from workers.vision.devices import cores

_LOOK_SECONDS = 0.2
_SILENT = "a process of the training was killed; out of memory?"
_PREEMPTED = "preempted: the newest checkpoint is gone on from"


def train(run: str, attempt: int, processes: int, *, preempted: Callable[[], bool]) -> Ending:
    """One attempt by so many processes. When it is asked to go they are, and have 30 seconds before torchrun kills."""
    with tempfile.TemporaryDirectory(prefix="shelver-ranks-") as folder:
        order = ["-m", "workers.training.rank_process", run, str(attempt), folder]
        asked = _run(processes, order, preempted)
        return _together(_endings(Path(folder)), asked)


def leave(folder: Path, rank: int, ending: Ending) -> None:
    """Say how a rank ended, whole or not at all."""
    partial = folder / f"{rank}.partial"
    partial.write_text(json.dumps(asdict(ending)))
    partial.replace(folder / f"{rank}.json")


def _run(processes: int, order: list[str], preempted: Callable[[], bool]) -> bool:
    """Whether they were asked to go before they ended."""
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // processes))}  # torchrun would say 1
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *order]
    # The pipe is the standard input of every rank: however this process ends, they notice and go.
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=threads | os.environ) as torchrun:
        while not preempted():
            with suppress(subprocess.TimeoutExpired):
                torchrun.wait(_LOOK_SECONDS)
                return False
        torchrun.terminate()
    return True


def _endings(folder: Path) -> dict[int, Ending]:
    return {int(path.stem): Ending(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}


def _together(endings: Mapping[int, Ending], asked: bool) -> Ending:
    """What the ranks' endings come to. Those whom another one's end ended say nothing."""
    if endings.get(0) == Ending(COMPLETE):
        return endings[0]
    for exit_code in (BAD_INPUT, FAILED, PREEMPTED):
        for ending in endings.values():
            if ending.exit_code == exit_code:
                return ending
    return Ending(PREEMPTED, _PREEMPTED) if asked else Ending(FAILED, _SILENT)
