"""Ctrl-C while the command line loads: one line and exit code 130, at whatever moment of it."""

import os
import signal
import subprocess
import sys

import pytest

LINE = "interrupted; the same command goes on where this one stopped"
MOMENTS = ["typer", "rich.console", "numpy", "pyarrow", "services.ingest", "services.cli.upkeep"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_it_loads(moment, tmp_path):
    """The interpreter names each module once it is loaded, which tells when to press; the verb waits for its input."""
    line = [sys.executable, "-X", "importtime", "-c", "from services.cli import main; main()", "ingest", "-"]
    environment = os.environ | {"SHELVER_HOME": str(tmp_path / "home")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*line, "--dataset", "d"], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True
    ) as process:
        said: list[str] = []
        for words in process.stderr:
            said.append(words.rstrip("\n"))
            if words.rpartition("|")[2].strip() == moment:
                process.send_signal(signal.SIGINT)
                break
        out, rest = process.communicate(timeout=60)
    said += rest.splitlines()
    assert process.returncode == 130
    assert [words for words in said if not words.startswith("import time:")] == [LINE]
    assert out == ""


def test_a_shell_that_has_it_ignore_ctrl_c_is_heeded(tmp_path):
    """As `nohup` and background jobs of scripts start it: it runs to its end."""
    line = [sys.executable, "-m", "services.cli", "datasets"]
    environment = os.environ | {"SHELVER_HOME": str(tmp_path / "home")}
    probe = "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    probe += f"process = subprocess.Popen({line!r}, restore_signals=False); process.send_signal(signal.SIGINT); "
    probe += "sys.exit(process.wait())"
    found = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert "no datasets yet" in found.stdout
