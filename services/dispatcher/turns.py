"""Fair turns: of the jobs of a pool, the one that has had the least device time is served next.

Device time is virtual: what a chunk will take is charged when it is sent, by what the job's images took before, and
corrected once the chunk says what it took. It is kept in memory only; a dispatcher that begins gives all the same.
"""

from collections.abc import Iterable, Sequence

from shared.domain.records import Chunk

_STAGE = "forward"  # fetching and decoding run beside it


class Turns:
    """Virtual device seconds of each job of one pool."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._served: dict[str, int] = {}  # by job, the number of its last turn: of equal ones the longest waiting
        self._charged: dict[str, tuple[str, float]] = {}  # chunk on the way -> job, seconds
        self._seconds: dict[str, float] = {}  # of done chunks, by job
        self._images: dict[str, int] = {}

    def keep(self, jobs: Sequence[str]) -> None:
        """These jobs run; others are forgotten. A new one begins with as much as the one that has had the least."""
        least = min((self._spent[job] for job in jobs if job in self._spent), default=0.0)
        self._spent = {job: self._spent.get(job, least) for job in jobs}
        self._served = {job: turn for job, turn in self._served.items() if job in self._spent}
        self._seconds = {job: self._seconds.get(job, 0.0) for job in jobs}
        self._images = {job: self._images.get(job, 0) for job in jobs}
        self._charged = {chunk: (job, cost) for chunk, (job, cost) in self._charged.items() if job in self._spent}

    def next(self, jobs: Iterable[str]) -> str:
        """Which of these jobs is served next."""
        return min(jobs, key=lambda job: (self._spent[job], self._served.get(job, 0)))

    def charge(self, job: str, chunks: Iterable[Chunk]) -> None:
        """These chunks are on their way: the job had its turn."""
        self._served[job] = 1 + max(self._served.values(), default=0)
        for chunk in chunks:
            cost = self._rate(job) * max(chunk.images, 1)
            self._charged[chunk.id] = (job, cost)
            self._spent[job] += cost

    def on_the_way(self) -> list[str]:
        """Chunks that were charged and not settled."""
        return list(self._charged)

    def settle(self, chunk: Chunk) -> None:
        """The chunk has ended, or waits again: what it took counts, not what was thought."""
        job, cost = self._charged.pop(chunk.id)
        taken = chunk.seconds.get(_STAGE, 0.0) if chunk.state == "done" else 0.0
        self._spent[job] += taken - cost
        if taken and chunk.scored_images:
            self._seconds[job] += taken
            self._images[job] += chunk.images

    def _rate(self, job: str) -> float:
        """Seconds an image: of the job, else of all of them, else 1: so that sizes at least are compared."""
        if self._images[job]:
            return self._seconds[job] / self._images[job]
        images = sum(self._images.values())
        return sum(self._seconds.values()) / images if images else 1.0
