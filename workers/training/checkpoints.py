"""Checkpoints of a training that goes on exactly where it was: tensors and counters."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from shared import layout
from shared.domain.errors import BadInputError, NewerSchemaError, NotFoundError
from shared.domain.records import SCHEMA
from shared.domain.runs import LatestCheckpoints
from shared.ports import Objects
from workers.vision.checkpoint import get_tensors, put_tensors

_KEPT = 2
_STATE = "state.json"
_SUFFIX = ".safetensors"

NamedTensors = Mapping[str, Mapping[str, Tensor]]  # file -> name in it -> tensor


@dataclass(slots=True)
class Counters:
    """What the training loop counts. `step` is the number of finished steps; sums are over the epoch so far."""

    step: int = 0
    epochs: int = 0  # finished: their steps are done and the network was watched
    loss_sum: float = 0.0
    correct: int = 0
    among_top: int | None = 0  # None: not known, in an epoch that the first release began
    seen: int = 0
    seconds: float = 0.0  # of training, over all attempts
    best_epoch: int = 0  # of the lowest watched loss, with early stopping
    best_loss: float | None = None
    stopped: bool = False  # early
    rates: dict[str, Any] = field(default_factory=dict)  # state of `Rates`
    undecodable: dict[int, str] = field(default_factory=dict)  # dataset-wide image row -> reason


class Checkpoints:
    """The checkpoints of one run, written by one attempt."""

    def __init__(self, objects: Objects, run: str, attempt: int) -> None:
        self._objects = objects
        self._run = run
        self._attempt = attempt
        self._latest_key = layout.run_file(run, "checkpoint/latest.json")

    def save(self, counters: Counters, tensors: NamedTensors) -> None:
        """Write a checkpoint, make it the latest one, and remove all but the last two."""
        here = (self._attempt, counters.step)
        for name, content in tensors.items():
            put_tensors(self._objects, self._key(here, name + _SUFFIX), content)
        state = {"schema": SCHEMA, "tensors": list(tensors), "counters": asdict(counters)}
        self._objects.put(self._key(here, _STATE), json.dumps(state).encode())
        kept = tuple([here, *(c for c in self._latest() if c != here)][:_KEPT])
        self._objects.put(self._latest_key, json.dumps(LatestCheckpoints(checkpoints=kept).plain()).encode())
        self._remove_others(kept)

    def restore(self, steps_per_epoch: int) -> tuple[Counters, NamedTensors] | None:
        """The newest checkpoint that is whole, its tensors on the CPU; None without. Raises NewerSchemaError."""
        for checkpoint in self._latest():
            try:
                names, counters = _state(self._objects.read(self._key(checkpoint, _STATE)), steps_per_epoch)
                tensors = {name: get_tensors(self._objects, self._key(checkpoint, name + _SUFFIX)) for name in names}
            except (NotFoundError, BadInputError) as error:
                print(f"checkpoint {checkpoint} is not whole ({error}); trying the one before", flush=True)
                continue
            return counters, tensors
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
        folders = tuple(self._key(checkpoint, "") for checkpoint in kept)
        for key in list(self._objects.list(layout.run_file(self._run, "checkpoint/"))):
            if key != self._latest_key and not key.startswith(folders):
                self._objects.delete(key)


def _state(content: bytes, steps_per_epoch: int) -> tuple[list[str], Counters]:
    """The names of a checkpoint's tensors, and its counters."""
    state = json.loads(content)
    if (schema := state.get("schema", SCHEMA)) > SCHEMA:
        raise NewerSchemaError(f"a checkpoint of schema {schema}: this Shelver reads up to {SCHEMA}")
    if "counters" not in state:  # of the first release: an epoch was finished with its last step, and not counted
        counted = {**state, "epochs": state["step"] // steps_per_epoch, "among_top": None if state["seen"] else 0}
        state = {"tensors": ["model", "optimizer"], "counters": counted}
    undecodable = {int(row): reason for row, reason in state["counters"]["undecodable"].items()}
    return state["tensors"], Counters(**{**state["counters"], "undecodable": undecodable})
