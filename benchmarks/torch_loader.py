"""Our scoring against PyTorch's DataLoader, which decodes picture by picture or a batch at a time, and against the way
of torchvision's tutorials: Pillow, a chain of transforms, a DataLoader.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import data, peer_steps
from benchmarks.peer_scoring import IMAGES, Answers, Pictures, Score, Setting, against, answers
from benchmarks.rounds import ROUNDS, Comparison, Goals

GOALS = Goals(must=2.0, aim=3.0)
_WORDS = "PyTorch's DataLoader"
_ITEMS, _BATCHES = "pictures", "batches"
_WORKERS = range(5)  # numbers of processes to try


def measure(
    folder: Path, *, images: int = IMAGES, workers: Sequence[int] = _WORKERS, rounds: int = ROUNDS
) -> Comparison:
    settings = _settings(workers, "Pillow")
    return against(folder, "dataloader", loading, settings, images, rounds, _WORDS, GOALS)


def measure_best(
    folder: Path, *, images: int = IMAGES, workers: Sequence[int] = _WORKERS, rounds: int = ROUNDS
) -> Comparison:
    settings = _settings(workers, "simplejpeg")
    return against(folder, "dataloader best", loading, settings, images, rounds, _WORDS, GOALS)


def measure_textbook(
    folder: Path, *, images: int = IMAGES // 2, workers: Sequence[int] = _WORKERS, rounds: int = ROUNDS
) -> Comparison:
    settings: list[Setting] = [{"workers": count, "batches of": batch} for count, batch in product(workers, (64, 256))]
    words = "Pillow, torchvision and a DataLoader"
    return against(folder, "textbook", textbook, settings, images, rounds, words, GOALS)


def _settings(workers: Sequence[int], decoder: str) -> list[Setting]:
    return [
        {"items": items, "workers": count, "batches of": batch, "decoder": decoder}
        for items, count, batch in product((_ITEMS, _BATCHES), workers, (32, 128))
    ]


class Items(Dataset[tuple[int, Tensor]]):
    """A product's id and its picture, uint8 [height, width, 3]."""

    def __init__(self, pictures: Pictures, decoder: str) -> None:
        self.pictures, self._decoder = pictures, decoder

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> tuple[int, Tensor]:
        given = self.pictures
        content = peer_steps.read(given.dump, int(given.offset[row]), int(given.length[row]))
        return int(given.product[row]), torch.from_numpy(peer_steps.DECODERS[self._decoder](content))


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """As `Items`, `size` at a time."""

    def __init__(self, pictures: Pictures, decoder: str, size: int) -> None:
        self._pictures, self._decoder, self._size = pictures, decoder, size

    def __len__(self) -> int:
        return -(-len(self._pictures) // self._size)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        given, some = self._pictures, slice(number * self._size, (number + 1) * self._size)
        pixels = peer_steps.pixels(given.dump, self._decoder, given.offset[some], given.length[some])
        return torch.from_numpy(given.product[some]), torch.from_numpy(pixels)


class Transformed(Dataset[tuple[int, Tensor]]):
    """A product's id and its picture as networks take it, float32 [3, height, width] in -1..1."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._transform = transforms.Compose(
            [
                transforms.Resize(data.EDGE),
                transforms.CenterCrop(data.EDGE),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, row: int) -> tuple[int, Tensor]:
        given = self._pictures
        content = peer_steps.read(given.dump, int(given.offset[row]), int(given.length[row]))
        return int(given.product[row]), self._transform(Image.open(BytesIO(content)).convert("RGB"))


@contextmanager
def loading(pictures: Pictures, setting: Setting) -> Iterator[Score]:
    decoder, batch = setting["decoder"], setting["batches of"]
    items = setting["items"] == _ITEMS
    dataset = Items(pictures, decoder) if items else Batches(pictures, decoder, batch)
    yield scores(_loader(dataset, batch if items else None, setting["workers"]), peer_steps.best)


@contextmanager
def textbook(pictures: Pictures, setting: Setting) -> Iterator[Score]:
    yield scores(
        _loader(Transformed(pictures), setting["batches of"], setting["workers"]), peer_steps.best_of_normalised
    )


def _loader(dataset: Dataset[Any], batch: int | None, workers: int) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=batch, **processes(workers))


def processes(workers: int) -> dict[str, Any]:
    """A loader's arguments for so many processes. They stay for the next run, and are not forked from this process,
    whose threads they would lack."""
    if not workers:
        return {"num_workers": 0}
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more than there are cores, which is to be tried
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.torch_loader"])
    return {"num_workers": workers, "persistent_workers": True, "multiprocessing_context": context}


def scores(loader: DataLoader[Any], best: Callable[[Tensor], peer_steps.Int64]) -> Score:
    def score() -> Answers:
        found = [(products, best(batch)) for products, batch in loader]
        return answers([products.numpy() for products, _ in found], [classes for _, classes in found])

    return score
