"""The command line: `shelver VERB ...`. Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted.

`services.cli.verbs` imports the verbs, and nothing heavy is imported here: Ctrl-C in the half second which that takes
has to find somebody at home.
"""

import os
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130
_WORDS = "interrupted; the same command goes on where this one stopped"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    try:
        heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where a shell had it ignored
        if heeded:
            signal.signal(signal.SIGINT, _leave)  # in the middle of an import an exception may turn into another one
        from services.cli import verbs  # noqa: F401

        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.stderr.write(f"{_WORDS}\n")
        sys.exit(INTERRUPTED)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every expected error is one line on standard error."""
    from services.cli.verbs import application, hoisted, remark, stderr
    from shared.domain.errors import BadInputError, ConflictError, NotFoundError, ShelverError

    try:
        application(hoisted(arguments), prog_name="shelver")
        return 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
        if code == INTERRUPTED:
            remark(_WORDS)
        return code
    except (BadInputError, NotFoundError, ConflictError) as error:
        stderr.print(f"shelver: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except (ShelverError, OSError) as error:  # OSError: a full disk, an output that cannot be written
        stderr.print(f"shelver: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def _leave(*_: object) -> None:
    """Nothing is begun that would have to be ended."""
    os.write(2, f"{_WORDS}\n".encode())
    os._exit(INTERRUPTED)
