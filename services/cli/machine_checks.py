"""What `doctor` looks at besides the home: Python, the environment's settings, packages, the device."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata, util
from typing import Any

from services.cli.checks import Check, FaultError, answer
from shared.domain.errors import BadInputError
from shared.settings import Settings

_DEVICE_SECONDS = 120.0  # importing torch from a cold disk
_INSTALL = "run `make setup`, or install shelver[workers] again"

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a command to its end. Raises OSError and subprocess.SubprocessError."""


def machine_checks(settings: Settings, faults: Sequence[BadInputError]) -> Iterator[Check]:
    """In the order in which a person would mend things."""
    yield Check("python", True, f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}")
    yield from settings_checks(faults, os.environ)
    yield answer("packages", _INSTALL, packages)
    yield answer("device", _INSTALL, lambda: device(settings, os.environ, run))


def settings_checks(faults: Sequence[BadInputError], environment: Mapping[str, str]) -> Iterator[Check]:
    """A line for each fault of the settings; where there is none, one for the variables that are set."""
    for fault in faults:
        yield Check("settings", False, f"{fault.where}: {fault.reason}", fault.remedy)
    if not faults:
        names = sorted(name for name in environment if name.startswith("SHELVER_"))
        yield Check("settings", True, ", ".join(names) if names else "all at their defaults")


def packages(
    requires: Callable[[str], Sequence[str] | None] = metadata.requires,
    version: Callable[[str], str] = metadata.version,
) -> str:
    """What is installed, against what Shelver's own metadata asks for. Raises FaultError."""
    from packaging.requirements import Requirement  # matplotlib needs it, so it is there or named as missing

    missing, unfit, found = [], [], {}
    for requirement in map(Requirement, requires("shelver") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": "workers"}):
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            unfit.append(f"{requirement.name} {found[requirement.name]} (needs {requirement.specifier})")
    if missing or unfit:
        words = [f"not installed: {', '.join(missing)}"] if missing else []
        raise FaultError("; ".join(words + ([f"do not fit: {', '.join(unfit)}"] if unfit else [])), _INSTALL)
    named = ("torch", "timm", "pyarrow", "numpy")
    return ", ".join([f"shelver {version('shelver')}", *(f"{name} {found[name]}" for name in named if name in found)])


def device(settings: Settings, environment: Mapping[str, str], run: Run) -> str:
    """What `auto` means on this machine. Raises FaultError where torch does not load or does not see the GPU."""
    if not util.find_spec("torch"):
        raise FaultError("torch is not installed", _INSTALL)
    asked = run([sys.executable, "-m", "workers.vision"])
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        remedy = f"install torch again for this machine; `{sys.executable} -m workers.vision` shows the whole error"
        raise FaultError(f"torch does not work: {last}", remedy)
    found: dict[str, Any] = json.loads(asked.stdout)
    wanted = {"SHELVER_SCORING_DEVICE": settings.scoring.device, "SHELVER_TRAINING_DEVICE": settings.training.device}
    if found["kind"] == "cpu" and set(wanted.values()) != {"cpu"}:
        if reason := _unused_gpu(found, environment, run):
            raise FaultError(*reason)
        for name, value in wanted.items():
            if value.startswith("cuda"):
                raise FaultError(f"{name} is {value}, and there is no GPU", f"unset {name}, or set it to cpu")
    return f"{found['name']}, precision {found['precision']}"


def _unused_gpu(found: Mapping[str, Any], environment: Mapping[str, str], run: Run) -> tuple[str, str] | None:
    """Words and remedy where the driver knows of GPUs that torch cannot use."""
    instead = "or set SHELVER_SCORING_DEVICE and SHELVER_TRAINING_DEVICE to cpu"
    if not shutil.which("nvidia-smi", path=environment.get("PATH")):
        return None
    try:
        listed = run(["nvidia-smi", "-L"])
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not answer: {error}", f"restart or install the NVIDIA driver, {instead}"
    if listed.returncode:
        last = (f"{listed.stdout}{listed.stderr}".strip().splitlines() or ["it said nothing"])[-1]
        return f"nvidia-smi fails: {last}", f"restart or install the NVIDIA driver, {instead}"
    gpus = [line.partition(" (")[0] for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    if not gpus:
        return None
    seen = f"nvidia-smi lists {', '.join(gpus)}, but torch sees no GPU"
    if "CUDA_VISIBLE_DEVICES" in environment:
        hidden = environment["CUDA_VISIBLE_DEVICES"]
        return f"{seen}: CUDA_VISIBLE_DEVICES is '{hidden}'", f"unset CUDA_VISIBLE_DEVICES, {instead}"
    if found["cuda"] is None:
        return f"{seen}: this torch is a build without CUDA", f"install a torch with CUDA, {instead}"
    return (
        f"{seen}: the driver may be too old for CUDA {found['cuda']}, which this torch needs",
        f"update the driver, or install a torch for an older CUDA, {instead}",
    )


def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """One command with its output; nothing here takes longer than importing torch."""
    return subprocess.run(list(command), capture_output=True, text=True, timeout=_DEVICE_SECONDS, check=False)
