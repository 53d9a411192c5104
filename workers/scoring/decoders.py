"""The threads that decode for one engine, and how far ahead of its device they go."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from shared.ports import Clock
from workers.scoring.ahead import BatchShape, Bounds, DecodeAhead
from workers.scoring.chunks import Plan
from workers.vision.decode import DecodeLimits

_BYTES = 512 * 2**20
_PICTURES = 256  # at least, whatever the batch: to hand a few over costs as much as to hand over many
_GROUPS = 8  # and two for each thread; to hand one over takes as long as to decode one or two pictures


class Decoders:
    """Makes the iterations over plans and their pictures; one at a time has the threads for itself."""

    def __init__(
        self, threads: int, limits: DecodeLimits, clock: Clock, *, helps: bool, sizes: Collection[int]
    ) -> None:
        """`helps`: who takes the pictures is one of the threads. `sizes`: see BatchShape."""
        self._limits = limits
        self._clock = clock
        self._helps = helps
        self._sizes = sizes
        self._groups = max(_GROUPS, 2 * threads)
        self._threads = max(1, threads - helps)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")

    def ahead(self, plans: Iterator[Plan], batch_images: int) -> DecodeAhead:
        """Pictures of the plans, in batches of this shape."""
        return DecodeAhead(
            plans,
            self._pool,
            self._limits,
            Bounds(max(2 * batch_images, _PICTURES), _BYTES, self._groups),
            self._clock,
            threads=self._threads,
            helps=self._helps,
            batches=BatchShape(batch_images, self._sizes),
        )

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
