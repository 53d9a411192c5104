"""Tensors in the object store as safetensors: nothing that executes code on load."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from shared.domain.errors import BadInputError
from shared.ports import Objects


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a network took over: tensors, and the share of all its numbers (parameters and buffers)."""

    tensors: int
    share: float


def put_tensors(objects: Objects, key: str, tensors: Mapping[str, Tensor]) -> int:
    """Store tensors under `key` as one safetensors file, its size in bytes."""
    return objects.put(key, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def get_tensors(objects: Objects, key: str) -> dict[str, Tensor]:
    """The tensors of a safetensors object, on the CPU. Raises NotFoundError, and BadInputError for another format."""
    try:
        return load(objects.read(key))
    except SafetensorError as error:
        raise BadInputError(
            key, f"this is no safetensors file: {error}", remedy="put a safetensors file here"
        ) from None


def agreeing(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that both have in the same shape."""
    return [name for name, tensor in own.items() if name in given and given[name].shape == tensor.shape]


@torch.no_grad()
def transfer(module: nn.Module, tensors: Mapping[str, Tensor]) -> Transfer:
    """Copy every tensor whose name and shape agree into `module`; the rest of the module stays as it is."""
    state = module.state_dict()
    names = agreeing(state, tensors)
    for name in names:
        state[name].copy_(tensors[name])
    taken = sum(state[name].numel() for name in names)
    return Transfer(len(names), taken / max(1, sum(tensor.numel() for tensor in state.values())))
