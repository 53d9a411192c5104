"""Our scoring against WebDataset: the same pictures in tar files, which are made before anything is timed."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from benchmarks import peer_steps
from benchmarks.peer_scoring import IMAGES, Pictures, Score, Setting, against
from benchmarks.rounds import ROUNDS, Comparison
from benchmarks.torch_loader import GOALS, processes, scores

_SHARDS = 8  # as many for each of 1, 2 or 4 processes


def measure(folder: Path, *, images: int = IMAGES, rounds: int = ROUNDS) -> Comparison:
    return against(folder, "webdataset", reading, _settings("Pillow"), images, rounds, "WebDataset", GOALS)


def measure_best(folder: Path, *, images: int = IMAGES, rounds: int = ROUNDS) -> Comparison:
    settings = _settings("simplejpeg")
    return against(folder, "webdataset best", reading, settings, images, rounds, "WebDataset", GOALS)


def _settings(decoder: str) -> list[Setting]:
    return [
        {"workers": workers, "batches of": batch, "decoder": decoder}
        for workers, batch in product((0, 1, 2, 4), (32, 128))
    ]


def write_shards(pictures: Pictures, folder: Path) -> list[str]:
    """Tar files of the pictures, `PRODUCT.jpg` each, in order."""
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(len(pictures)), _SHARDS)):
        paths.append(str(folder / f"{number}.tar"))
        with tarfile.open(paths[-1], "w") as tar:
            for row in rows.tolist():
                content = peer_steps.read(pictures.dump, int(pictures.offset[row]), int(pictures.length[row]))
                entry = tarfile.TarInfo(f"{pictures.product[row]:09d}.jpg")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return paths


@contextmanager
def reading(pictures: Pictures, setting: Setting) -> Iterator[Score]:
    import webdataset

    with TemporaryDirectory(dir=Path(pictures.dump).parent) as folder:
        shards = write_shards(pictures, Path(folder))
        dataset = webdataset.WebDataset(shards, shardshuffle=False)
        decoded = dataset.to_tuple("__key__", "jpg").map(partial(item, decoder=setting["decoder"]))
        batches = decoded.batched(setting["batches of"], collation_fn=batch)
        loader = webdataset.WebLoader(batches, batch_size=None, **processes(setting["workers"]))
        yield scores(loader, peer_steps.best)


def item(found: tuple[str, bytes], decoder: str) -> tuple[int, peer_steps.Pixels]:
    key, content = found
    return int(key), peer_steps.DECODERS[decoder](content)


def batch(items: Sequence[tuple[int, peer_steps.Pixels]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([key for key, _ in items]), torch.from_numpy(np.stack([pixels for _, pixels in items]))
