"""The processes that train one member together, as one of them sees them: its rank, and what they tell each other.

All of them take the same steps, so each calls the same methods in the same order. Numbers of the device go over its
own ways (nccl between GPUs), everything else over gloo, so that no decision waits for a GPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from workers.training.preemption import PreemptedError

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""Rank 0 watches and saves alone, which may take long; one that died is noticed by its connection, and by torchrun."""


class LostRankError(Exception):
    """Another rank is gone: why, it says itself if it still could."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """One of `count` processes, of which rank 0 alone writes; a training in one process is a rank of its own."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, parts: Sequence[T]) -> Sequence[T]:
        """Those of a batch's parts that are this rank's."""
        return parts[self.rank :: self.count]

    def gathered(self, value: T) -> list[T]:
        """The value of every rank, in their order."""
        values = [value] * self.count
        if self.count > 1:
            with _together():
                dist.all_gather_object(values, value)
        return values

    def of_first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes; the others wait for it. If it raises PreemptedError, so do all."""
        if self.count == 1:
            return make()
        made: list[T | PreemptedError | None] = [None]
        if self.first:
            try:
                made = [make()]
            except PreemptedError as error:
                made = [error]
        with _together():
            dist.broadcast_object_list(made, src=0)
        (found,) = made
        if isinstance(found, PreemptedError):
            raise found
        return found  # type: ignore[return-value]  # rank 0 put a T there

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type and device by their sums over all ranks, which are the same bits on each."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message, not one per tensor
        with _together():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            end = start + tensor.numel()
            tensor.copy_(flat[start:end].view(tensor.shape))
            start = end

    def part(self) -> None:
        """Nothing more is told: from here on each rank may end when it likes."""
        if self.count > 1:
            self.gathered(None)  # nobody hangs up on one that still listens
            dist.destroy_process_group()


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Meet the other ranks, as torchrun's variables say; `device` is this rank's own."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(str(error)) from error
