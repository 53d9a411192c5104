"""The command line: `shelver VERB ...`. Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted."""

import sys
from collections.abc import Sequence

from services.cli import catalog, demonstration, training, upkeep
from services.cli import scoring as scoring_verbs
from services.cli.app import application, hoisted
from services.cli.show import remark, stderr
from shared.domain.errors import BadInputError, ConflictError, NotFoundError, ShelverError

__all__ = ["catalog", "demonstration", "main", "scoring_verbs", "training", "upkeep"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every expected error is one line on standard error."""
    try:
        application(hoisted(arguments), prog_name="shelver")
        return 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
        if code == INTERRUPTED:
            remark("interrupted; the same command goes on where this one stopped")
        return code
    except (BadInputError, NotFoundError, ConflictError) as error:
        stderr.print(f"shelver: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except (ShelverError, OSError) as error:  # OSError: a full disk, an output that cannot be written
        stderr.print(f"shelver: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
