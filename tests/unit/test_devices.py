import pytest
import torch

from shared.domain.errors import FailedError
from tests.engine_parts import CPU
from workers.vision.devices import cores, out_of_memory, resolve_device, resolve_precision, torch_threads


def test_auto_is_float32_on_a_processor():
    assert resolve_precision("auto", CPU) == "float32"
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_device("cpu") == CPU


def test_auto_follows_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    with pytest.raises(FailedError, match="device 'cuda' is not there"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "float32")])
def test_auto_on_a_gpu_is_bf16_where_it_computes_in_it(monkeypatch, supported, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)

    assert resolve_precision("auto", torch.device("cuda")) == precision


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_ran_out_is_recognised(error):
    assert out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError()])
def test_other_errors_are_not(error):
    assert not out_of_memory(error)


def test_there_is_a_core():
    assert cores() >= 1


def test_threads_of_torch_are_as_before_afterwards():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
