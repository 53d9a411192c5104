"""What a process and all below it have had of the processor and of memory, as Linux counts it."""

import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 0.01
_TICK = os.sysconf("SC_CLK_TCK")


def seconds() -> float:
    """Seconds of the processor so far: of this process, of what it has waited for, and of all that still runs below it.

    Others are counted in hundredths of a second, and not at all on systems without /proc.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(map(_seconds_of, below(os.getpid())))
    return living + ended.ru_utime + ended.ru_stime + time.process_time()


def below(process: int) -> Iterator[int]:
    """The processes that this one has started, and those that they have."""
    with suppress(OSError):  # it ends meanwhile
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from below(child)


def wait_for(processes: Iterable[int], seconds: float) -> None:
    """Until all of them have ended, or so long."""
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{one}").exists() for one in processes) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)


def _seconds_of(process: int) -> float:
    """Its own, and of those that it has waited for."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK
    return 0.0


def peak_bytes(work: Callable[[], object]) -> int:
    """Do the work; the most memory that the processes below this one have had together, without that of files.

    They are looked at a few times a second. What a process shares with the one that it was forked from counts once.
    """
    most = 0
    done = threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(_LOOK_SECONDS):
            most = max(most, sum(map(_bytes_of, below(os.getpid()))))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        work()
    finally:
        done.set()
        looking.join()
    return most


def _bytes_of(process: int) -> int:
    with suppress(OSError):
        kinds = re.findall(r"Pss_(?:Anon|Shmem):\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text())
        return 1024 * sum(map(int, kinds))
    return 0
