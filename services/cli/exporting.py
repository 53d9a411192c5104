"""A trained network as a file that other programs run; torch makes it in a process of its own."""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

from services.cli.files import check_target, whole
from services.cli.session import Session
from shared import wiring
from shared.domain.errors import BadInputError, FailedError
from shared.domain.records import Run
from shared.settings import to_environment

NEEDS = {".onnx": ("torch", "onnx", "onnxscript"), ".pt2": ("torch",)}
"""By the ending that a file may have: what makes it."""


def check_file(file: Path) -> None:
    """Refuse a file that could not be made. Raises BadInputError."""
    if file.suffix not in NEEDS:
        raise BadInputError(str(file), "no format has this ending", remedy=f"name a file {' or '.join(NEEDS)}")
    missing = [package for package in NEEDS[file.suffix] if not util.find_spec(package)]
    if missing:
        extras = "workers" if file.suffix == ".pt2" else "workers,onnx"
        reason = f"it takes {', '.join(missing)}, which this installation lacks"
        raise BadInputError(str(file), reason, remedy=f"install them: pip install 'shelver[{extras}]'")
    check_target(file)


def export_run(session: Session, run: Run, file: Path) -> int:
    """Write a run's network, which appears whole or not at all; its bytes. Raises BadInputError, FailedError."""
    if run.state != "complete":
        raise BadInputError(f"run {run.id}", f"its state is {run.state}", remedy="`shelver train` completes it")
    command = [sys.executable, "-m", "workers.vision.exporting", run.id, run.dataset, file.suffix.removeprefix(".")]
    environment = os.environ | wiring.COMPUTING | to_environment(session.settings)
    with whole(file) as output:
        made = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        if made.returncode:
            last = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise FailedError(f"run {run.id} cannot be exported: {last}")
    return file.stat().st_size
