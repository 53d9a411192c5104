"""Small parts for tests of the engine: exact pictures, networks without weights, chunks, and ensembles around them."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from shared.domain import taxonomy
from shared.domain.duplicates import DuplicateTable
from shared.domain.ensemble import (
    Ensemble,
    ImagePolicy,
    Init,
    Input,
    Means,
    Member,
    ProductPolicy,
    Schedule,
    Split,
)
from shared.domain.fits import Fit
from shared.domain.taxonomy import Taxonomy
from shared.packs import NO_CATEGORY, PackIndex
from shared.settings import ScoringSettings
from workers.scoring.chunks import ChunkInput, ChunkResult, Policies, ProductResult
from workers.scoring.engine import Device, Engine

CLASSES = 5
CPU = torch.device("cpu")
SETTINGS = ScoringSettings(decode_threads=2, top_k=CLASSES)
SPLIT = Split(seed=1, holdout=0.1)
TAXONOMY: Taxonomy = taxonomy.build(
    [100 + i for i in range(CLASSES)], [("shop", f"shelf {i // 2}", f"box {i}") for i in range(CLASSES)]
)


class Colours(nn.Module):
    """Logits from the colour of the first pixel alone, by operations that round alike in any batch."""

    def __init__(self, seed: int, fits: int | None = None) -> None:
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (3, CLASSES)).astype(np.float32))
        self.fits = fits  # larger batches run out of memory
        self.shapes: list[tuple[int, ...]] = []
        self.inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.shapes.append(tuple(inputs.shape))
        self.inputs.append(inputs.clone())
        if self.fits is not None and len(inputs) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        red, green, blue = (inputs[:, channel, 0, 0, None] * self.weights[channel] for channel in range(3))
        return red + green + blue


@dataclass
class Network:
    module: Colours
    input: Input = field(default_factory=lambda: Input(size=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    labels: tuple[int, ...] = ()


def picture(*colours: tuple[int, int, int], side: int = 8) -> bytes:
    """A PNG of vertical stripes in these colours."""
    pixels = np.repeat(np.array(colours, dtype=np.uint8), -(-side // len(colours)), axis=0)[None, :side]
    file = io.BytesIO()
    Image.fromarray(np.repeat(pixels, side, axis=0)).save(file, "PNG")
    return file.getvalue()


def random_picture(noise: np.random.Generator) -> bytes:
    """A PNG whose mirror image has another colour on the left."""
    left, right = (tuple(noise.integers(0, 256, 3).tolist()) for _ in range(2))
    return picture(left, right)


def md5s(pictures: Sequence[bytes]) -> np.ndarray:
    digests = b"".join(hashlib.md5(content, usedforsecurity=False).digest() for content in pictures)
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def first_image(products: Sequence[Sequence[bytes]]) -> np.ndarray:
    return np.cumsum([0, *(len(pictures) for pictures in products)]).astype(np.int64)


def catalog(seed: int, products: int = 13) -> list[list[bytes]]:
    """Products of one to four random pictures."""
    noise = np.random.default_rng(seed)
    return [[random_picture(noise) for _ in range(count)] for count in noise.integers(1, 5, products)]


def chunk(products: Sequence[Sequence[bytes]], *, first_id: int = 1, category_ids: Sequence[int] = ()) -> ChunkInput:
    """A chunk of products with these images, in the middle of some pack."""
    start = 1000 * first_id
    pictures = [content for product in products for content in product]
    lengths = np.array([len(content) for content in pictures], dtype=np.int64)
    index = PackIndex(
        product_id=np.arange(first_id, first_id + len(products), dtype=np.int64),
        offset=np.zeros(len(products), np.int64),
        length=np.zeros(len(products), np.int64),
        category_id=np.array(category_ids or [NO_CATEGORY] * len(products), dtype=np.int64),
        first_image=first_image(products),
        image_offset=start + np.cumsum(lengths) - lengths,
        image_length=lengths,
        image_md5=md5s(pictures),
    )
    return ChunkInput(f"chunk {first_id}", index, b"".join(pictures), start)


def ensemble(members: Sequence[str] = ("a", "b"), means: Means | None = None) -> Ensemble:
    """The first member alone as `one`, all of them as `all`, plain and mirrored."""
    return Ensemble(
        name="small",
        task="multiclass",
        splits={"A": SPLIT},
        members={name: _member(name) for name in members},
        views=("plain", "hflip"),
        means=means or Means(),
        combinations={"one": (members[0],), "all": tuple(members)},
        image_duplicates="none",
        product_duplicates="none",
    )


def _member(name: str) -> Member:
    return Member(
        name=name,
        model="resnet18",
        input=Input(size=4),
        split=SPLIT,
        epochs=1,
        seed=1,
        batch_size=1,
        optimizer="nadam",
        weight_decay=0.0,
        label_smoothing=0.0,
        augment=(),
        schedule=Schedule(),
        precision="float32",
        init=Init(),
    )


@dataclass
class Rig:
    """An engine over stub networks `a` (seed 1) and `b` (seed 2)."""

    table: DuplicateTable | None = None
    images: ImagePolicy = "none"
    products: ProductPolicy = "none"
    skip_decided: bool = True
    own_source: bool = False
    batch_images: int = 4
    means: Means = field(default_factory=Means)
    keep_scores: bool = False
    fits: int | None = None
    halved: list[int] = field(default_factory=list)
    fit: Fit = field(default_factory=Fit)  # of `all`

    def __post_init__(self) -> None:
        self.networks = {name: Network(Colours(seed, self.fits)) for name, seed in (("a", 1), ("b", 2))}
        self.engine = Engine(
            ensemble(means=self.means),
            TAXONOMY,
            self.networks,
            self.table,
            Policies(self.images, self.products, self.skip_decided, self.own_source),
            on=Device(CPU, "float32", self.batch_images),
            settings=SETTINGS,
            keep_scores=self.keep_scores,
            fits={"all": self.fit},
            on_halved=self.halved.append,
        )

    def run(self, *chunks: ChunkInput) -> list[ChunkResult]:
        return list(self.engine.run(iter(chunks)))

    def products_of(self, *chunks: ChunkInput) -> list[ProductResult]:
        return [product for result in self.run(*chunks) for product in result.products]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of every forward pass so far."""
        return [shape for network in self.networks.values() for shape in network.module.shapes]


def values(results: Sequence[ProductResult]) -> list[ProductResult]:
    """What products are told, apart from their ids."""
    return [replace(result, product=0) for result in results]
