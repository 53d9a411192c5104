"""`python -m workers.scoring.probe live|ready|started`: exit code 0, or 1 with one line that says what is wrong.

Reads one file: neither torch nor the queue's client is loaded, since probes come every few seconds.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.domain.errors import BadInputError
from shared.settings import from_environment
from workers.scoring.liveness import Judge, dead, unready, unstarted

_JUDGES: Mapping[str, Judge] = {"live": dead, "ready": unready, "started": unstarted}


def main(arguments: Sequence[str]) -> int:
    """The exit code; 2 for bad usage or settings."""
    if len(arguments) != 1 or arguments[0] not in _JUDGES:
        print(f"usage: python -m workers.scoring.probe {'|'.join(_JUDGES)}", file=sys.stderr)
        return 2
    try:
        settings = from_environment().worker
    except BadInputError as error:
        print(error, file=sys.stderr)
        return 2
    told, age = _read(Path(settings.liveness_file))
    words = _JUDGES[arguments[0]](told, age, settings)
    if words:
        print(words)
    return 1 if words else 0


def _read(file: Path) -> tuple[Mapping[str, Any] | None, float]:
    try:
        told: dict[str, Any] = json.loads(file.read_text())
        return told, time.time() - file.stat().st_mtime
    except OSError:
        return None, 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
