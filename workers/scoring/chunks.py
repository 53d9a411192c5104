"""What goes into the engine, what comes out, and which pictures of a chunk need the network."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import duplicates
from shared.domain.duplicates import Decisions, DuplicateTable, Overrides
from shared.domain.ensemble import ImagePolicy, ProductPolicy
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.records import Prediction
from shared.packs import NO_CATEGORY, PackIndex
from shared.ports import Clock


@dataclass(frozen=True, slots=True, eq=False)
class ChunkInput:
    """One chunk: the index of its products, and their bytes; `start` is the offset that the bytes begin at.

    Where bytes of the pack between two products were not read, the offsets after them are moved down.
    """

    key: str
    index: PackIndex
    content: bytes
    start: int

    def pictures(self, images: Sequence[int]) -> Iterator[memoryview]:
        """The bytes of images, by their rows of the index."""
        rows, content = np.array(images, np.int64), memoryview(self.content)
        begins = self.index.image_offset[rows] - self.start
        ends = begins + self.index.image_length[rows]
        return (content[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True))


def of_pictures(pictures: Sequence[bytes]) -> ChunkInput:
    """A chunk of one product that is in no pack."""
    lengths = np.array([len(picture) for picture in pictures], dtype=np.int64)
    digests = b"".join(hashlib.md5(picture, usedforsecurity=False).digest() for picture in pictures)
    index = PackIndex(
        product_id=np.zeros(1, np.int64),
        offset=np.zeros(1, np.int64),
        length=lengths.sum(keepdims=True),
        category_id=np.full(1, NO_CATEGORY),
        first_image=np.array([0, len(pictures)], dtype=np.int64),
        image_offset=np.cumsum(lengths) - lengths,
        image_length=lengths,
        image_md5=np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64),
    )
    return ChunkInput("answer", index, b"".join(pictures), 0)


@dataclass(frozen=True, slots=True)
class ProductResult:
    """What is known of one product: predictions per combination, or an error."""

    product: int
    source: str = "model"  # model | image duplicate | product duplicate
    overridden: float = 0.0  # share of the product's images that a duplicate decided
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    model_only: Mapping[str, Prediction] = field(default_factory=dict)  # empty where the network did not run
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ChunkResult:
    """A scored chunk: one result per product in the order of the index.

    `seconds` per stage: look-up; decode, summed over threads; forward, which is everything on the device. `scores`
    where the job keeps them: product int64[p] (those with predictions), combination str[g], class_index int32[p, g, k]
    and probability float32[p, g, k], best first, k at most 64, and rest float32[p, g], the sum of all other classes.
    """

    key: str
    products: list[ProductResult]
    decided: int  # products that duplicates decided, without the network
    scored_images: int  # pictures that went through the network
    seconds: dict[str, float]
    batch_images: int
    precision: str
    halvings: int  # how often memory ran out during this chunk
    scores: dict[str, npt.NDArray[Any]] | None = None
    views: int = 1
    device: str = ""  # its name; empty where nothing was to be run
    device_bytes: int = 0  # memory of the device in use; 0 on a CPU


def nothing_left(key: str) -> ChunkResult:
    """The result of a chunk of which the engine got no product."""
    return ChunkResult(
        key=key, products=[], decided=0, scored_images=0, seconds={}, batch_images=0, precision="", halvings=0
    )


@dataclass(frozen=True, slots=True)
class Policies:
    """What duplicates may do. `own_source`: the chunks come from the dataset that the table was counted on."""

    images: ImagePolicy
    products: ProductPolicy
    skip_decided: bool
    own_source: bool


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A chunk after the look-up: what duplicates say, and which products need the network."""

    chunk: ChunkInput
    decisions: Decisions
    network: list[int]  # rows of the index
    seconds: float  # of the look-up

    @property
    def pictures(self) -> list[int]:
        """Rows of the images to decode, by product."""
        first = self.chunk.index.first_image
        return [image for product in self.network for image in range(first[product], first[product + 1])]


def plan(chunk: ChunkInput, table: DuplicateTable | None, policies: Policies, classes: Classes, clock: Clock) -> Plan:
    """Look the chunk's MD5s up and choose the products for the network: all but those already decided.

    `classes` are what the table counts. Of label sets, overrides are of their labels, and what is decided is a set.
    """
    began = clock()
    index = chunk.index
    if table is None:
        decisions = _undecided(len(index), index.images)
    else:
        own = classes.index_of(index.category_id).astype(np.int32) if policies.own_source else None
        decisions = duplicates.decide(
            table, policies.images, policies.products, index.first_image, index.image_md5, own
        )
        if isinstance(classes, LabelSets):
            decisions = replace(decisions, overrides=classes.spread(decisions.overrides))
    skipped = (decisions.decided >= 0) & policies.skip_decided
    return Plan(chunk, decisions, np.flatnonzero(~skipped).tolist(), clock() - began)


def _undecided(products: int, images: int) -> Decisions:
    nothing = np.full(products, -1, dtype=np.int32)
    overrides = Overrides(
        known=np.zeros(images, dtype=np.bool_),
        base=np.zeros(images, dtype=np.float32),
        start=np.zeros(images + 1, dtype=np.int64),
        class_index=np.zeros(0, dtype=np.int32),
        value=np.zeros(0, dtype=np.float32),
    )
    return Decisions(nothing, nothing, np.zeros(products, dtype=np.int8), overrides)
