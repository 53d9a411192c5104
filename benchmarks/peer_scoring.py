"""Our scoring against a peer's: the same dump, the same stub network, the same best category of each product.

A peer gets the best of its settings, by a search before the rounds, of which each answer is judged too; whatever it
keeps from one run to the next, such as processes, it keeps. It decodes by Pillow, as its documentation does, or, in
rows called `best`, by what our side decodes with, as who tunes it would. The same is asked for of both. Our side can
take no less than decoding alone does on all cores, which each row says: what a peer takes, divided by that, is the most
that its ratio can be. Products have one picture each, so that a peer need not group them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import data, networks, peer_steps
from benchmarks.engine import GPU_BATCH
from benchmarks.rounds import Comparison, Goals, UnequalError, compare, timed
from services.ingest import IngestRequest, run
from shared import wiring
from shared.domain.chunks import PackProducts, plan
from shared.domain.records import Job, JobOptions
from shared.packs import Manifest, PackIndex, read_indexes
from shared.ports import Objects
from shared.settings import Settings
from workers.scoring.chunks import ChunkInput
from workers.scoring.reading import ChunkReader
from workers.vision.decode import DecodeLimits, decode
from workers.vision.devices import cores

Int64 = npt.NDArray[np.int64]
Answers = Int64
"""int64[n, 2]: product and class, by product."""
Setting = Mapping[str, Any]
IMAGES = 32768  # so many that what begins a run decides nothing: seconds of work
_SEARCHED = 8192  # of them, for all settings
_FINALISTS = 3  # settings that are searched again, with all
_CHUNK_IMAGES = 4096


@dataclass(frozen=True, eq=False)
class Pictures:
    """A dump, and where the picture of each product lies in it: int64[n] each."""

    dump: str
    product: Int64
    offset: Int64
    length: Int64

    def __len__(self) -> int:
        return len(self.product)

    def some(self, count: int) -> "Pictures":
        """The first ones."""
        return Pictures(self.dump, self.product[:count], self.offset[:count], self.length[:count])


Score = Callable[[], Answers]
Peer = Callable[[Pictures, Setting], AbstractContextManager[Score]]
"""Something that scores pictures, as long as it is open."""


def answers(products: Sequence[Int64], classes: Sequence[Int64]) -> Answers:
    """Of parts that came in any order."""
    found = np.stack([np.concatenate(products), np.concatenate(classes)], axis=1)
    return found[found[:, 0].argsort()]


def against(
    folder: Path,
    name: str,
    peer: Peer,
    settings: Sequence[Setting],
    images: int,
    rounds: int,
    words: str,
    goals: Goals,
) -> Comparison:
    with TemporaryDirectory(dir=folder) as own, _ours(Path(own), images) as (score, pictures):
        setting = tuned(name, peer, settings, pictures, score())
        with peer(pictures, setting) as theirs:
            return compare(
                name,
                lambda: timed(score),
                lambda: timed(theirs),
                np.array_equal,
                must=goals.must,
                aim=goals.aim,
                words=f"{words}: {_words(setting)}, best of {len(settings)} settings; {images} images, a stub network; "
                f"our decoder alone takes {_decoding(pictures):.2f} s",
                rounds=rounds,
            )


def tuned(name: str, peer: Peer, settings: Sequence[Setting], pictures: Pictures, expected: Answers) -> Setting:
    """The setting that is fastest the second time, of those that are so with a part of the pictures.

    What each of them reaches is printed. Raises UnequalError where one gives other answers than `expected`.
    """

    def seconds(setting: Setting, given: Pictures) -> float:
        with peer(given, setting) as score:
            score()
            found = timed(score)
        if not np.array_equal(found.answer, expected[np.isin(expected[:, 0], given.product)]):
            raise UnequalError(f"{name}: other answers than ours with {_words(setting)}")
        rate = len(given) / found.seconds
        print(f"{name}: {rate:7.0f} images/s of {len(given)} with {_words(setting)}", flush=True)
        return found.seconds

    part = pictures.some(_SEARCHED)
    finalists = sorted(settings, key=lambda setting: seconds(setting, part))[:_FINALISTS]
    return min(finalists, key=lambda setting: seconds(setting, pictures))


def _decoding(pictures: Pictures) -> float:
    """Seconds that reading and decoding take, into memory that is used again, by one thread per core."""
    limits = DecodeLimits(smallest=data.EDGE)

    def some(rows: Int64) -> None:
        batch = np.empty((GPU_BATCH, data.EDGE, data.EDGE, 3), np.uint8)
        for place, row in enumerate(rows.tolist()):
            content = peer_steps.read(pictures.dump, int(pictures.offset[row]), int(pictures.length[row]))
            decode(content, limits, batch[place % GPU_BATCH])

    shares = np.array_split(np.arange(len(pictures)), cores())
    with ThreadPoolExecutor(cores()) as pool:
        return min(timed(lambda: list(pool.map(some, shares))).seconds for _ in range(3))


def _words(setting: Setting) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


@contextmanager
def _ours(folder: Path, images: int) -> Iterator[tuple[Score, Pictures]]:
    """What scores a dataset chunk by chunk as a worker does, and the pictures of the dump that it was made of."""
    dump = folder / "dump.bson"
    data.write_singles(dump, images)
    stores = wiring.stores(Settings(home=folder))
    request = IngestRequest(str(dump), "catalog", data.SAMPLE / "category_names.csv")
    manifest = run(stores, Settings(home=folder), request)
    indexes = [index for _, index in read_indexes(stores.objects, manifest)]
    engine = networks.engine(networks.stub(), ["plain"], networks.STUB_CLASSES, GPU_BATCH)

    def score() -> Answers:
        results = [one for result in engine.run(_chunks(stores.objects, manifest, indexes)) for one in result.products]
        classes = [one.predictions["all"].class_index for one in results]
        return answers([np.array([one.product for one in results])], [np.array(classes)])

    try:
        yield score, _pictures(dump, manifest, indexes)
    finally:
        engine.close()


def _chunks(objects: Objects, manifest: Manifest, indexes: Sequence[PackIndex]) -> Iterator[ChunkInput]:
    job = Job(
        id="job",
        dataset=manifest.dataset,
        dataset_fingerprint=manifest.fingerprint,
        ensemble="stub",
        version="v1",
        options=JobOptions(image_duplicates="none", product_duplicates="none"),
        products=manifest.products,
        images=manifest.images,
        tenant="",
    )
    packs = [
        PackProducts(ref.number, index.offset, index.length, index.first_image)
        for ref, index in zip(manifest.packs, indexes, strict=True)
    ]
    reader = ChunkReader(objects)
    for chunk in plan(job.id, packs, _CHUNK_IMAGES):
        yield reader.read(job, chunk, np.ones(chunk.products, np.bool_))


def _pictures(dump: Path, manifest: Manifest, indexes: Sequence[PackIndex]) -> Pictures:
    begins = np.cumsum([0, *(ref.bytes for ref in manifest.packs)])[:-1]  # of packs in the dump, which is whole
    offsets = [index.image_offset + begin for index, begin in zip(indexes, begins.tolist(), strict=True)]
    products, lengths = [index.product_id for index in indexes], [index.image_length for index in indexes]
    return Pictures(str(dump), np.concatenate(products), np.concatenate(offsets), np.concatenate(lengths))
