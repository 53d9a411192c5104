"""The queue of a simulated pool: it loses messages, brings them late and twice, and refuses some."""

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.domain.errors import StoreUnavailableError

if TYPE_CHECKING:
    from tests.simulated_pool import Process, Simulation


class PlayedQueue:
    """Played: what goes wrong comes from the simulation's seed."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._messages: deque[Mapping[str, Any]] = deque()
        self._idle: deque[Process] = deque()

    def send(self, message: Mapping[str, Any]) -> None:
        chance, faults = self._simulation.random, self._simulation.faults
        if chance.random() < faults.refused:
            raise StoreUnavailableError("the queue is away")
        if chance.random() >= faults.lost:
            late = chance.random() < faults.late
            self._simulation.time.at(chance.uniform(0, 20 if late else 0.05), partial(self.deliver, message))
        if chance.random() < faults.doubled:
            self._simulation.time.at(chance.uniform(0, chance.choice((0.05, 300))), partial(self.deliver, message))

    def deliver(self, message: Mapping[str, Any]) -> None:
        self._messages.append(message)
        while self._idle:
            process = self._idle.popleft()
            if not process.ended:
                self._simulation.time.at(0.0, process.task.resume)
                return

    def take(self, process: "Process") -> Mapping[str, Any]:
        while not self._messages:
            self._idle.append(process)
            process.time.task.pause()
        return self._messages.popleft()

    def waiting(self, _: str) -> int:
        if self._simulation.random.random() < self._simulation.faults.refused:
            raise StoreUnavailableError("the queue is away")
        return len(self._messages)

    def lost_workers(self) -> frozenset[str]:
        return frozenset()
