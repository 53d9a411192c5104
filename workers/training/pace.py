"""How fast a training is going."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from shared.ports import Clock

_SECONDS = 10.0  # the rate shown is of about this long


class Pace:
    """Images per second lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._images = 0
        self._recent = deque([(clock(), 0)])  # (time, images until then)

    def add(self, images: int) -> None:
        """Count images of a step that is done."""
        self._images += images

    def rate(self) -> float:
        """Images per second, 0 while unknown."""
        now = self._clock()
        self._recent.append((now, self._images))
        while len(self._recent) > 2 and now - self._recent[0][0] > _SECONDS:
            self._recent.popleft()
        then, images = self._recent[0]
        return (self._images - images) / (now - then) if now > then else 0.0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave out the time that passes within."""
        began = self._clock()
        yield
        away = self._clock() - began
        self._recent = deque((time + away, images) for time, images in self._recent)
