"""Checkpoints of a training that goes on exactly where it was: weights, optimizer state and counters."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from shared import layout
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.runs import LatestCheckpoints
from shared.ports import Objects
from workers.vision.checkpoint import get_tensors, put_tensors

_KEPT = 2
_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(slots=True)
class Counters:
    """What the training loop counts. `step` is the number of finished steps; sums are over the epoch so far."""

    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0  # of training, over all attempts
    undecodable: dict[int, str] = field(default_factory=dict)  # dataset-wide image row -> reason


class Checkpoints:
    """The checkpoints of one run, written by one attempt."""

    def __init__(self, objects: Objects, run: str, attempt: int) -> None:
        self._objects = objects
        self._run = run
        self._attempt = attempt
        self._latest_key = layout.run_file(run, "checkpoint/latest.json")

    def save(self, module: nn.Module, optimizer: Optimizer, counters: Counters) -> None:
        """Write a checkpoint, make it the latest one, and remove all but the last two."""
        here = (self._attempt, counters.step)
        put_tensors(self._objects, self._key(here, _FILES[0]), module.state_dict())
        put_tensors(self._objects, self._key(here, _FILES[1]), _optimizer_tensors(optimizer))
        self._objects.put(self._key(here, _FILES[2]), json.dumps(asdict(counters)).encode())
        kept = tuple([here, *(c for c in self._latest() if c != here)][:_KEPT])
        self._objects.put(self._latest_key, json.dumps(LatestCheckpoints(checkpoints=kept).plain()).encode())
        self._remove_others(kept)

    def restore(self, module: nn.Module, optimizer: Optimizer) -> Counters | None:
        """Load the newest checkpoint that is whole into `module` and `optimizer` (on their device); None without."""
        for checkpoint in self._latest():
            try:
                tensors = [get_tensors(self._objects, self._key(checkpoint, name)) for name in _FILES[:2]]
                counters = _counters(json.loads(self._objects.read(self._key(checkpoint, _FILES[2]))))
            except (NotFoundError, BadInputError) as error:
                print(f"checkpoint {checkpoint} is not whole ({error}); trying the one before", flush=True)
                continue
            module.load_state_dict(tensors[0])
            _load_optimizer(optimizer, tensors[1])
            return counters
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the run is complete."""
        self._objects.delete(self._latest_key)
        self._remove_others(())

    def _latest(self) -> tuple[tuple[int, int], ...]:
        try:
            return LatestCheckpoints.from_plain(json.loads(self._objects.read(self._latest_key))).checkpoints
        except NotFoundError:
            return ()

    def _key(self, checkpoint: tuple[int, int], name: str) -> str:
        return layout.checkpoint(self._run, *checkpoint, name)

    def _remove_others(self, kept: tuple[tuple[int, int], ...]) -> None:
        keep = {self._latest_key, *(self._key(checkpoint, name) for checkpoint in kept for name in _FILES)}
        for key in list(self._objects.list(layout.run_file(self._run, "checkpoint/"))):
            if key not in keep:
                self._objects.delete(key)


def _counters(plain: dict[str, Any]) -> Counters:
    return Counters(**{**plain, "undecodable": {int(row): reason for row, reason in plain["undecodable"].items()}})


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{i}.{key}": tensor
        for i, parameter in enumerate(_parameters(optimizer))
        for key, tensor in optimizer.state[parameter].items()
    }


@torch.no_grad()
def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    for name, tensor in tensors.items():
        place, key = name.split(".", 1)
        parameter = parameters[int(place)]
        if tensor.shape == parameter.shape:
            # The memory layout of the parameter: another one could sum up in another order.
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)
        else:
            optimizer.state[parameter][key] = tensor.clone()
