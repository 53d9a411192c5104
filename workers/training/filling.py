"""The images that a joint member learns from: of each product the first that can be decoded, as when it is scored."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from workers.training.dataset import Int64
from workers.training.pictures import PictureBatch, Source
from workers.training.units import Units


class UnitSource:
    """Reads whole units. Only where an image cannot be decoded a later one of the same product is asked for."""

    def __init__(self, source: Source, units: Units) -> None:
        """Rows of `source` are those of the units' images."""
        self._source = source
        self._units = units

    def batches(self, batches: Iterable[Int64]) -> Iterator[PictureBatch]:
        """What each batch of units holds, in order."""
        asked: deque[Int64] = deque()

        def rows() -> Iterator[Int64]:
            for units in batches:
                asked.append(units)
                yield self._units.rows(units)

        for batch in self._source.batches(rows()):
            units = asked.popleft()
            yield self._filled(units, batch) if batch.undecodable else batch

    def _filled(self, units: Int64, batch: PictureBatch) -> PictureBatch:
        found = dict(zip(batch.rows.tolist(), batch.pictures, strict=True))
        undecodable = batch.undecodable
        while True:
            rows = self._units.rows(units, undecodable)
            missing = [row for row in rows.tolist() if row not in found]
            if not missing:
                return PictureBatch(rows, [found[row] for row in rows.tolist()], undecodable)
            for more in self._source.batches([np.array(missing)]):
                found |= dict(zip(more.rows.tolist(), more.pictures, strict=True))
                undecodable = undecodable | more.undecodable
