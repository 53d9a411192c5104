"""Which device, which precision and how many threads: what `auto` means here, and when memory has run out."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shared.domain.errors import FailedError

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions that `auto` can resolve to or a file may name."""


class UnsupportedPrecisionError(FailedError):
    """This device cannot run the precision that was chosen: another worker may."""


class DeviceTooSmallError(FailedError):
    """Not even one picture at a time fits into the device's memory: never a fault of the picture."""


def resolve_device(name: str) -> torch.device:
    """The device of a setting; `auto` is cuda where there is one, else cpu. Raises FailedError."""
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda") and not available:
        raise FailedError(f"device '{name}' is not there; set the device to auto or cpu")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What a run or a chunk was computed on, as rows and figures have it: a GPU's name, or "CPU" and its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"


def resolve_precision(precision: str, device: torch.device) -> str:
    """float32, bf16 or fp16. `auto` is bf16 on a GPU that computes in it, else float32 (bf16 is slow on most CPUs).

    Raises UnsupportedPrecisionError.
    """
    bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return "bf16" if device.type == "cuda" and bf16 else "float32"
    if (precision == "bf16" and not bf16) or (precision == "fp16" and device.type == "cpu"):
        raise UnsupportedPrecisionError(f"{precision} does not run on this {device.type} device")
    return precision


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch's operations on the CPU, of this thread, by `count` threads.

    Small ones gain nothing by more than one, and wait for the other where all cores are busy: milliseconds each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the memory of the device or of the machine was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
