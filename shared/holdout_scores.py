"""Holdout scores: what each run's network said of every image that its split held out. Every comparison and fit reads
these, and no network runs again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shared import layout
from shared.domain import splits
from shared.domain.errors import BadInputError, FailedError, NotFoundError
from shared.ports import Objects

VIEWS = ("plain", "hflip")
"""Views that are stored: the same for every run, since a run knows no ensemble."""
FILE_ROWS = 4096
_HEADER_BYTES = 4096  # more than the header of any array
_BLOCK_BYTES = 128 * 2**20  # of scores in memory at one time

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Int8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]


def scores_key(run: str, number: int) -> str:
    """The file of a run's holdout scores, float16 [rows, views, classes], that starts at `file_starts()[number]`."""
    return layout.run_file(run, f"holdout/scores-{number:05d}.npy")


def file_starts(product_id: Int64) -> Int64:
    """Where the files of holdout scores start: every `FILE_ROWS` images, moved on to the next product's first."""
    first = np.flatnonzero(np.r_[True, product_id[1:] != product_id[:-1]]) if len(product_id) else np.zeros(0, np.int64)
    return np.unique(first[np.searchsorted(first, np.arange(0, first[-1] + 1 if len(first) else 0, FILE_ROWS))])


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The held-out images of a run in dump order, of the holdout and of the blend part: one element per image each."""

    product_id: Int64
    number: Int64  # the image's place in its product
    row: Int64  # place among all images of the dataset, ascending
    class_index: Int64
    part: Int8  # HOLDOUT or BLEND
    seen: Bool  # some image of its product is also one of the training part

    def take(self, keep: Bool) -> "HeldOut":
        """The images where `keep` holds."""
        return HeldOut(*(getattr(self, item.name)[keep] for item in fields(self)))


def read_held_out(objects: Objects, run: str) -> HeldOut:
    """Which images a run held out. Raises BadInputError where it has no holdout scores, as an import has none."""
    try:
        contents = [objects.read(layout.run_file(run, f"holdout/{item.name}.npy")) for item in fields(HeldOut)]
    except NotFoundError:
        reason = "it has no holdout scores: it was imported, or they were removed"
        raise BadInputError(f"run {run}", reason, remedy="train it here") from None
    return HeldOut(*(np.load(BytesIO(content), allow_pickle=False) for content in contents))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some of the products, whole, and what every run says of their images."""

    products: slice  # rows of `Shared.product_id`
    images: slice  # rows of `Shared.images`
    scores: Float32  # [images, runs, views, classes]; NaN where an image could not be decoded


class Shared:
    """The products of the holdout that every one of several runs, and whatever they started from, held out.

    An image that one split dropped as a duplicate is left out for all.
    """

    def __init__(self, objects: Objects, runs: Sequence[str], ancestors: Sequence[str] = ()) -> None:
        """Raises BadInputError where a run has no scores, or where no product is left."""
        self._objects = objects
        self._runs = list(runs)
        self._of_runs = {run: read_held_out(objects, run) for run in dict.fromkeys([*runs, *ancestors])}
        first = self._of_runs[runs[0]]
        keep = first.part == splits.HOLDOUT
        for other in self._of_runs.values():
            keep &= np.isin(first.product_id, other.product_id[other.part == splits.HOLDOUT])
        for run in runs:
            keep &= np.isin(first.row, self._of_runs[run].row)
        self.images = first.take(keep)
        if not len(self.images.row):
            reason = "no product was held out by every member"
            raise BadInputError("holdout", reason, remedy="name a combination of members that share a split")
        starts = np.flatnonzero(np.r_[True, np.diff(self.images.product_id) != 0])
        self.product_id = self.images.product_id[starts]
        self.class_index = self.images.class_index[starts]
        self.first_image = np.append(starts, len(self.images.row)).astype(np.int64)
        self.seen = np.zeros(len(starts), np.bool_)
        for run in runs:
            of_run = self._of_runs[run]
            self.seen |= np.isin(self.product_id, of_run.product_id[of_run.seen])

    def blocks(self, classes: int) -> Iterator[Block]:
        """All products in dump order, so many at a time that their scores fit into memory."""
        most = max(1, _BLOCK_BYTES // (4 * len(self._runs) * len(VIEWS) * classes))
        begin = 0
        while begin < len(self.product_id):
            end = int(np.searchsorted(self.first_image, self.first_image[begin] + most, side="right")) - 1
            end = max(end, begin + 1)
            images = slice(int(self.first_image[begin]), int(self.first_image[end]))
            rows = self.images.row[images]
            scores = [self._scores(run, rows, classes) for run in self._runs]
            yield Block(slice(begin, end), images, np.stack(scores, axis=1))
            begin = end

    def _scores(self, run: str, rows: Int64, classes: int) -> Float32:
        """[rows, views, classes] of these images of the dataset."""
        held = self._of_runs[run]
        places = np.searchsorted(held.row, rows)
        starts = [*file_starts(held.product_id).tolist(), len(held.row)]
        parts = []
        for number, (start, stop) in enumerate(pairwise(starts)):
            mine = places[(places >= start) & (places < stop)] - start
            if len(mine):
                parts.append(_rows(self._objects, scores_key(run, number), mine, classes))
        return np.concatenate(parts).astype(np.float32)


def _rows(objects: Objects, key: str, rows: Int64, classes: int) -> npt.NDArray[np.float16]:
    """These ascending rows of an array, of which no more than what lies between them is read."""
    stream = BytesIO(objects.read(key, 0, _HEADER_BYTES))
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if shape[1:] != (len(VIEWS), classes) or dtype != np.float16:
        raise FailedError(f"{key} is damaged: it holds {dtype} of shape {shape}; remove the run and train it again")
    row_bytes = len(VIEWS) * classes * dtype.itemsize
    first, last = int(rows[0]), int(rows[-1])
    content = objects.read(key, stream.tell() + first * row_bytes, (last - first + 1) * row_bytes)
    found = np.frombuffer(content, dtype).reshape(-1, len(VIEWS), classes)
    return found[rows - first]
