"""`guard.py PROGRAM ARGUMENT...`: runs a program that ends when standard input does, whatever ended its other end.

Prints the program's process id, which is also that of its process group; all of the group ends then. Exits as it does.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def _end_with_starter(group: int) -> None:
    while os.read(0, 1024):
        pass
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main(command: list[str]) -> int:
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0)
    print(program.pid, flush=True)
    threading.Thread(target=_end_with_starter, args=[program.pid], daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
