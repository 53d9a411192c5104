"""doctor's lines about settings, packages and the device, each with what breaks it."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from services.cli import machine_checks
from services.cli.checks import FaultError, answer
from shared.settings import ScoringSettings, Settings, examine

CPU = {"name": "CPU (x86_64, 2 cores)", "kind": "cpu", "precision": "float32", "cuda": "12.8"}
GPU = "GPU 0: NVIDIA H100 (UUID: GPU-1234)\n"


def test_faults_of_the_environment_are_lines_with_a_remedy() -> None:
    environment = {
        "SHELVER_LEASES_LEASE_SECOND": "3",
        "SHELVER_SCORING_TOP_K": "many",
        "SHELVER_COLOUR": "red",
        "SHELVER_INGEST_PACK_BYTES": "4096",
    }
    settings, faults = examine(environment)
    assert settings.ingest.pack_bytes == 4096
    assert settings.scoring.top_k == ScoringSettings().top_k
    found = list(machine_checks.settings_checks(faults, environment))
    assert [check.ok for check in found] == [False] * 3
    assert {check.words.split(":")[0]: check.remedy for check in found} == {
        "SHELVER_SCORING_TOP_K": "correct or unset it",
        "SHELVER_LEASES_LEASE_SECOND": "unset it, or did you mean SHELVER_LEASES_LEASE_SECONDS?",
        "SHELVER_COLOUR": "unset it; shared/settings.py has all of them",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [("x", "no number"), ("-1", "no number of 0 or more"), ("nan", "no number of"), ("inf", "no number of")],
)
def test_a_setting_is_a_finite_number_of_0_or_more(text: str, words: str) -> None:
    settings, (fault,) = examine({"SHELVER_RETENTION_JOB_DAYS": text})
    assert f"SHELVER_RETENTION_JOB_DAYS: '{text}' is {words}" in str(fault)
    assert settings == Settings()


def test_settings_without_a_fault_are_named() -> None:
    (check,) = machine_checks.settings_checks([], {"SHELVER_HOME": "x", "PATH": "y"})
    assert (check.ok, check.words) == (True, "SHELVER_HOME")


def packages(installed: Mapping[str, str]) -> str:
    def version(name: str) -> str:
        try:
            return {"shelver": "0.1.0", **installed}[name]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    needed = ["numpy>=2.1", "typer>=0.15", 'torch>=2.6; extra == "workers"', 'pywin32>=1; sys_platform == "win32"']
    return machine_checks.packages(lambda _: needed, version)


def test_packages_that_fit_are_named_with_their_versions() -> None:
    assert (
        packages({"numpy": "2.2.1", "typer": "0.15", "torch": "2.6.0+cpu"})
        == "shelver 0.1.0, torch 2.6.0+cpu, numpy 2.2.1"
    )


def test_missing_packages_and_versions_that_do_not_fit_are_named() -> None:
    with pytest.raises(FaultError) as fault:
        packages({"numpy": "1.26.4", "typer": "0.16.0"})
    assert fault.value.words == "not installed: torch; do not fit: numpy 1.26.4 (needs >=2.1)"
    assert "make setup" in fault.value.remedy


def test_the_packages_here_fit() -> None:
    assert machine_checks.packages().startswith(f"shelver {metadata.version('shelver')}, torch ")


class Machine:
    """Answers what a device probe and nvidia-smi would."""

    def __init__(self, torch: tuple[int, str, str], smi: tuple[int, str, str] = (0, GPU, "")) -> None:
        self.torch, self.smi = torch, smi

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        code, out, err = self.smi if command[0] == "nvidia-smi" else self.torch
        return subprocess.CompletedProcess(command, code, out, err)

    def words(self, settings: Settings, folder: Path, *, driver: bool, **environment: str) -> tuple[bool, str, str]:
        if driver:
            (folder / "nvidia-smi").write_text("")
            (folder / "nvidia-smi").chmod(0o755)
        given = {"PATH": str(folder), **environment}
        check = answer("device", "", lambda: machine_checks.device(settings, given, self.run))
        return check.ok, check.words, check.remedy


def torch(**changes: object) -> tuple[int, str, str]:
    return 0, json.dumps({**CPU, **changes}), ""


ON_CUDA = Settings(scoring=ScoringSettings(device="cuda"))
ON_CPU = replace(Settings(), scoring=ScoringSettings(device="cpu"), training=replace(Settings().training, device="cpu"))


HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
UNSEEN = "GPU 0: NVIDIA H100, but torch sees no GPU: this torch is a build without CUDA"
NO_GPU = "SHELVER_SCORING_DEVICE is cuda, and there is no GPU"


@pytest.mark.parametrize(
    ("machine", "settings", "driver", "words"),
    [
        (Machine(torch()), Settings(), False, "CPU (x86_64, 2 cores), precision float32"),
        (Machine(torch(name="H100", kind="cuda", precision="bf16")), ON_CUDA, True, "H100, precision bf16"),
        (Machine(torch(), (0, "", "")), Settings(), True, "CPU (x86_64, 2 cores), precision float32"),
        (Machine(torch()), ON_CPU, True, "CPU (x86_64, 2 cores), precision float32"),
    ],
)
def test_a_device_that_works(machine: Machine, settings: Settings, driver: bool, words: str, tmp_path: Path) -> None:
    assert machine.words(settings, tmp_path, driver=driver) == (True, words, "")


@pytest.mark.parametrize(
    ("machine", "settings", "environment", "words", "remedy"),
    [
        (
            Machine((1, "", "Traceback\nOSError: libcudart")),
            Settings(),
            {},
            "OSError: libcudart",
            "install torch again",
        ),
        (Machine(torch(cuda=None)), Settings(), {}, UNSEEN, "install a torch with CUDA"),
        (Machine(torch()), Settings(), {}, "may be too old for CUDA 12.8", "update the driver"),
        (Machine(torch()), Settings(), HIDDEN, "CUDA_VISIBLE_DEVICES is ''", "unset CUDA_VISIBLE_DEVICES"),
        (
            Machine(torch(), (9, "it has failed", "")),
            Settings(),
            {},
            "nvidia-smi fails: it has failed",
            "NVIDIA driver",
        ),
        (Machine(torch(), (0, "", "")), ON_CUDA, {}, NO_GPU, "set it to cpu"),
    ],
)
def test_a_device_that_does_not(
    machine: Machine, settings: Settings, environment: dict[str, str], words: str, remedy: str, tmp_path: Path
) -> None:
    ok, said, todo = machine.words(settings, tmp_path, driver=True, **environment)
    assert not ok
    assert words in said
    assert remedy in todo


def test_a_probe_that_never_answers(tmp_path: Path) -> None:
    def hang(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        raise subprocess.TimeoutExpired(list(command), 120)

    check = answer("device", "reinstall", lambda: machine_checks.device(Settings(), {}, hang))
    assert (check.ok, check.remedy) == (False, "reinstall")
    assert "timed out after 120 seconds" in check.words
