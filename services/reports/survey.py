"""A look at the pixels of a dataset: every distinct image once, in threads, of large datasets a sample.

Sampling. Up to `limit` distinct images (MD5s): all of them, and figures are counts. Above: the tenth part of the sample
are the images that occur most often, each looked at for certain (one that stands in thousands of products would
otherwise be missed, or count a hundredfold); the rest are drawn evenly from all others by a hash of the MD5, so an
unchanged dataset gives unchanged figures. Each image counts as often as it occurs. The interval of a share is Wilson's
with Kish's effective sample size (Kish, Survey Sampling, 1965, 11.7) for the drawn part; the certain part adds none.
"""

import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reports.contents import Contents, Int64
from services.reports.looks import Look, look
from services.reports.repeats import DistinctImages
from shared.domain import keys
from shared.domain.digests import scatter, seed_of
from shared.domain.intervals import wilson
from shared.packs import read_products
from shared.ports import Objects

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

LIMIT = 100_000
_CERTAIN_PART = 10  # one in ten of the sample
_TASK_IMAGES = 64
_READ_BYTES = 4 * 2**20  # one read at most about this
_GAP_BYTES = 64 * 2**10  # rather read this much for nothing than read twice


@dataclass(frozen=True, slots=True)
class SurveyProgress:
    """Images looked at so far, of how many, and the rate."""

    done: int
    total: int
    rate: float  # images per second

    @property
    def seconds_left(self) -> float | None:
        """None before there is a rate."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the dataset's images. Without an interval everything was looked at, and `images` is a count."""

    share: float
    images: int  # estimated, where there is an interval
    low: float | None
    high: float | None
    n: int  # distinct images looked at


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """s distinct images that were looked at. `weight` is how many of the dataset's images each stands for."""

    distinct: int
    row: Int64  # int64[s], the first image (row of the contents) with these bytes
    weight: Float64  # float64[s], sums to the dataset's images
    certain: Bool  # bool[s], looked at whatever the draw
    format: npt.NDArray[np.uint8]  # as the fields of Look
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint8]
    state: npt.NDArray[np.uint8]
    deviation: npt.NDArray[np.float32]

    @property
    def complete(self) -> bool:
        """Whether every distinct image was looked at."""
        return len(self.row) == self.distinct

    def share(self, which: Bool) -> Share:
        """The share of the dataset's images for which `which` (bool[s]) holds."""
        total = float(self.weight.sum())
        held = float(self.weight[which].sum())
        share = held / total if total else 0.0
        if self.complete:
            return Share(share, round(held), None, None, len(self.row))
        drawn, hits = self.weight[~self.certain], self.weight[which & ~self.certain]
        effective = round(float(drawn.sum() ** 2 / (drawn**2).sum()))
        low, high = wilson(round(effective * float(hits.sum() / drawn.sum())), effective)
        fixed = held - float(hits.sum())
        ends = [(fixed + end * float(drawn.sum())) / total for end in (low, high)]
        return Share(share, round(held), min(ends[0], share), max(ends[1], share), len(self.row))


def sample(images: DistinctImages, md5_high: npt.NDArray[np.uint64], limit: int) -> tuple[Int64, Float64, Bool]:
    """Which distinct images to look at, the weight of each, and which are certain; `md5_high` uint64[d]."""
    distinct = len(images.first)
    if distinct <= limit:
        return np.arange(distinct), images.occurrences.astype(np.float64), np.ones(distinct, dtype=np.bool_)
    draw = scatter(seed_of("survey"), md5_high.view(np.int64))
    number = max(1, limit // _CERTAIN_PART)
    # by occurrences, then by the draw, in one word: one pass over all images instead of a sort
    rank = np.minimum(images.occurrences, 2**20 - 1).astype(np.uint64) << np.uint64(44) | draw >> np.uint64(20)
    order = np.argpartition(rank, distinct - number)
    others, sure = order[: distinct - number], order[distinct - number :]
    drawn = others[np.argpartition(draw[others], limit - number)[: limit - number]]
    weight = np.concatenate([images.occurrences[sure], images.occurrences[drawn]]).astype(np.float64)
    weight[len(sure) :] *= images.occurrences[others].sum() / images.occurrences[drawn].sum()
    return np.concatenate([sure, drawn]), weight, np.arange(len(weight)) < len(sure)


def survey(
    objects: Objects,
    contents: Contents,
    images: DistinctImages,
    *,
    refuse_pixels: int,
    threads: int,
    limit: int = LIMIT,
    report: Callable[[SurveyProgress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Survey:
    """Look at distinct images straight from the packs. Memory: a few reads of 4 MiB and pictures per thread."""
    chosen, weight, certain = sample(images, contents.md5[images.first, 0], limit)
    row = images.first[chosen]
    order = np.lexsort((contents.offset[row], contents.pack[row]))
    row, weight, certain = row[order], weight[order], certain[order]
    looks: list[Look | None] = [None] * len(row)
    began = clock()
    done = 0
    with closing(_all_looks(objects, contents, row, refuse_pixels, threads)) as found:
        for start, some in found:
            looks[start : start + len(some)] = some
            done += len(some)
            elapsed = clock() - began
            report(SurveyProgress(done, len(row), done / elapsed if elapsed > 0 else 0.0))
    seen = [one for one in looks if one is not None]
    return Survey(
        distinct=len(images.first),
        row=row,
        weight=weight,
        certain=certain,
        format=np.array([one.format for one in seen], dtype=np.uint8),
        width=np.array([one.width for one in seen], dtype=np.int32),
        height=np.array([one.height for one in seen], dtype=np.int32),
        flags=np.array([one.flags for one in seen], dtype=np.uint8),
        state=np.array([one.state for one in seen], dtype=np.uint8),
        deviation=np.array([one.deviation for one in seen], dtype=np.float32),
    )


def _all_looks(
    objects: Objects, contents: Contents, row: Int64, refuse_pixels: int, threads: int
) -> Generator[tuple[int, list[Look]], None, None]:
    """Looks as they are ready, with the position in `row` of the first; a bounded number of tasks is on the way."""

    def task(start: int) -> tuple[int, list[Look]]:
        files = read_images(objects, contents, row[start : start + _TASK_IMAGES])
        return start, [look(content, refuse_pixels) for content in files]

    # Pillow's readers warn about odd files; filters are the process's, so they are set here and not in the threads
    quiet = warnings.catch_warnings(action="ignore")
    with quiet, ThreadPoolExecutor(threads, thread_name_prefix="look") as pool:
        waiting: set[Future[tuple[int, list[Look]]]] = set()
        try:
            for start in range(0, len(row), _TASK_IMAGES):
                if len(waiting) >= 4 * threads:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in ready)
                waiting.add(pool.submit(task, start))
            yield from (one.result() for one in waiting)
        finally:  # Ctrl-C: what runs ends within one task, what waits is not begun
            pool.shutdown(cancel_futures=True)


def read_images(objects: Objects, contents: Contents, row: Int64) -> Iterator[bytes]:
    """The bytes of images, rows of `contents` in order of pack and offset; neighbours are read together."""
    if not len(row):
        return
    pack, offset, end = contents.pack[row], contents.offset[row], contents.offset[row] + contents.length[row]
    gap = np.append(0, offset[1:] - end[:-1])
    begins = np.flatnonzero(keys.starts(pack, offset // _READ_BYTES) | (gap > _GAP_BYTES))
    for first, stop in zip(begins, np.append(begins[1:], len(row)), strict=True):
        ref = contents.manifest.packs[pack[first]]
        low = int(offset[first])
        block = read_products(objects, ref, low, int(end[stop - 1]))
        for place in range(first, stop):
            yield block[int(offset[place]) - low : int(end[place]) - low]
