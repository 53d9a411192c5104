"""Where and with what a measurement was made."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "celery",
    "minio",
    "numpy",
    "pillow",
    "pyarrow",
    "pymongo",
    "ray",
    "redis",
    "simplejpeg",
    "timm",
    "torch",
    "torchvision",
    "webdataset",
)
"""Those that sides of benchmarks are made of."""


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, bytes of memory, GPU, system, and how busy it is."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": gpu(),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def revision(repository: Path) -> str:
    """The commit, and whether files differ from it; empty outside of git."""
    commit, changed = _git(repository, "rev-parse", "HEAD"), _git(repository, "status", "--porcelain")
    return f"{commit}, changed" if commit and changed else commit


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def gpu() -> str:
    """The first one that torch can use, and its memory; empty where there is none."""
    import torch  # not above: the command decides how it is loaded

    if not torch.cuda.is_available():
        return ""
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
