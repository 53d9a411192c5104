"""Networks that answer once for a product: all of its images tiled into one input, as the best published system of 2017
did, or fused from what is said of each, as the second best did.

A product's answer depends on its first `Joint.most` images that can be decoded, in their order, and on nothing else:
each pass through a network has one fixed shape, and what is kept of a product is summed in the order of its images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shared.domain import views
from shared.domain.ensemble import Input
from shared.domain.product_images import Joint
from shared.domain.views import ViewSpec
from workers.vision.devices import DTYPES
from workers.vision.forward import logits
from workers.vision.heads import Fusing, Headed
from workers.vision.preprocessing import resize, view
from workers.vision.sums import add_in_order, raise_to

_PLAIN = views.parse("plain")

Int64 = npt.NDArray[np.int64]


def picture_input(given: Input, joint: Joint) -> Input:
    """How each image is resized, for a network that takes `given`: to a tile of it, or as it is."""
    return replace(given, size=given.size // joint.side) if joint.kind == "tiled" else given


def grouped(product_id: Int64, rows: Int64 | None = None) -> tuple[Int64, Int64]:
    """Of images whose products lie together: the place of each product's first one, and each one's product from 0.

    `rows` ascend within a product; where they do not, the same product comes again, as sampling may draw it.
    """
    begins = product_id[1:] != product_id[:-1]
    if rows is not None:
        begins |= rows[1:] <= rows[:-1]
    starts = np.r_[True, begins][: len(product_id)]
    return np.flatnonzero(starts), np.cumsum(starts) - 1


def ranks(product: Int64) -> Int64:
    """The place of each image within its product; `product` ascends."""
    return np.arange(len(product)) - np.searchsorted(product, product, side="left")


def blank(products: int, given: Input, device: torch.device) -> Tensor:
    """Inputs without any image: float32 [products, 3, size, size] in the padding's colour."""
    colour = torch.tensor(given.pad_colour, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return colour.repeat(products, 1, given.size, given.size)


def put_tiles(grids: Tensor, tiles: Tensor, rows: Int64, places: Int64, source: Int64, joint: Joint) -> None:
    """Write `tiles[source[i]]` to place `places[i]` of `grids[rows[i]]`, from the top left line by line."""
    side, edge = joint.side, tiles.shape[-1]
    for place in range(joint.most):
        here = places == place
        if here.any():
            top, left = (edge * at for at in divmod(place, side))
            target, taken = (torch.from_numpy(one[here]).to(grids.device) for one in (rows, source))
            grids[target, :, top : top + edge, left : left + edge] = tiles[taken].to(grids.dtype)


def tiled(tiles: Tensor, product: Int64, given: Input, joint: Joint) -> Tensor:
    """Resized images [n, 3, edge, edge] of p products, in 0..255 -> float32 [p, 3, size, size]."""
    grids = blank(int(product[-1]) + 1, given, tiles.device)
    put_tiles(grids, tiles, product, ranks(product), np.arange(len(product)), joint)
    return grids


def view_tiles(grids: Tensor, spec: ViewSpec, given: Input, joint: Joint) -> Tensor:
    """One variation of every tile of [n, 3, size, size], where it stands."""
    side, tile = joint.side, picture_input(given, joint)
    edge = tile.size
    cut = grids.view(len(grids), -1, side, edge, side, edge).permute(0, 2, 4, 1, 3, 5)
    seen = view(cut.reshape(-1, grids.shape[1], edge, edge), spec, tile).reshape(cut.shape)
    return seen.permute(0, 3, 1, 4, 2, 5).reshape(grids.shape)


@dataclass(frozen=True, slots=True)
class Running:
    """A joint network ready to run: in eval mode on the device, and the shape of every pass through it."""

    module: nn.Module
    joint: Joint
    given: Input  # of the network
    device: torch.device
    precision: str
    batch: int = 1


class ProductRows(Protocol):
    """What a joint network knows so far of some products, a row each."""

    def add(self, pictures: Tensor, source: Int64, rows: Int64, places: Int64) -> None:
        """`pictures[source[i]]`, resized, of a whole batch [batch, 3, s, s] in 0..255, is image `places[i]` of the
        product in row `rows[i]`; rows ascend, and places within them. Images beyond the most are not looked at."""

    def logits(self, products: int) -> Tensor:
        """Of the first rows, each of a product with an image: float32 [views, products, classes]."""

    def keep(self, first: int, count: int) -> None:
        """Rows `first` up to `first + count` become the first ones; the others are empty."""


def product_rows(of: Running, specs: Sequence[ViewSpec], rows: int) -> ProductRows:
    """So many empty rows."""
    return _Tiled(of, specs, rows) if of.joint.kind == "tiled" else _Fused(of, specs, rows)


class _Tiled:
    """The inputs as they fill with tiles."""

    def __init__(self, of: Running, specs: Sequence[ViewSpec], rows: int) -> None:
        self._of = of
        self._specs = specs
        self._grids = blank(rows, of.given, of.device)

    def add(self, pictures: Tensor, source: Int64, rows: Int64, places: Int64) -> None:
        """See `ProductRows`."""
        put_tiles(self._grids, pictures, rows, places, source, self._of.joint)

    @torch.inference_mode()
    def logits(self, products: int) -> Tensor:
        """See `ProductRows`."""
        of = self._of
        found = []
        for spec in self._specs:
            parts = [
                logits(of.module, view_tiles(block, spec, of.given, of.joint), _PLAIN, of.given, of.precision)
                for block in _blocks(self._grids[:products], of.batch)
            ]
            found.append(torch.cat(parts)[:products])
        return torch.stack(found)

    def keep(self, first: int, count: int) -> None:
        """See `ProductRows`."""
        self._grids[:count] = self._grids[first : first + count].clone()
        self._grids[count:] = blank(1, self._of.given, self._of.device)


class _Fused:
    """Sums or maxima of what the network says of each image: float64 on a CPU, float32 on a GPU, as means are."""

    def __init__(self, of: Running, specs: Sequence[ViewSpec], rows: int) -> None:
        assert isinstance(of.module, Headed)
        assert isinstance(of.module.head, Fusing)
        self._of = of
        self._specs = specs
        self._backbone, self._fusing = of.module.backbone, of.module.head
        self._gated = of.joint.by == "gated"
        dtype = torch.float64 if of.device.type == "cpu" else torch.float32
        shape = (len(specs), rows, self._fusing.channels)
        self._held = torch.full(shape, self._empty, dtype=dtype, device=of.device)

    @property
    def _empty(self) -> float:
        return 0.0 if self._gated else -torch.inf

    @torch.inference_mode()
    def add(self, pictures: Tensor, source: Int64, rows: Int64, places: Int64) -> None:
        """See `ProductRows`."""
        of, taken = self._of, places < self._of.joint.most
        if taken.any():
            said = [logits(self._embed, pictures, spec, of.given, of.precision) for spec in self._specs]
            terms = torch.stack(said).to(self._held.dtype)
            (add_in_order if self._gated else raise_to)(self._held, terms, rows[taken], source[taken])

    @torch.inference_mode()
    def logits(self, products: int) -> Tensor:
        """See `ProductRows`."""
        found = []
        for held in self._held[:, :products].float():
            parts = [self._answer(block) for block in _blocks(held, self._of.batch)]
            found.append(torch.cat(parts)[:products])
        return torch.stack(found)

    def keep(self, first: int, count: int) -> None:
        """See `ProductRows`."""
        self._held[:, :count] = self._held[:, first : first + count].clone()
        self._held[:, count:] = self._empty

    def _embed(self, inputs: Tensor) -> Tensor:
        return self._fusing.embed(self._backbone(inputs))

    def _answer(self, fused: Tensor) -> Tensor:
        of = self._of
        with torch.autocast(of.device.type, dtype=DTYPES[of.precision], enabled=of.precision != "float32"):
            answers: Tensor = self._fusing.answer(fused)
        return answers.float()


def _blocks(rows: Tensor, size: int) -> Sequence[Tensor]:
    """Rows in blocks of one size, the last one filled up with zeros."""
    missing = -len(rows) % size
    if missing:
        rows = torch.cat([rows, rows.new_zeros((missing, *rows.shape[1:]))])
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def joint_logits(of: Running, pictures: Sequence[Tensor], product: Int64, specs: Sequence[ViewSpec]) -> Tensor:
    """Of whole products whose images (each uint8 [height, width, 3] on the CPU) lie together, `product` from 0:
    float32 [views, products, classes].
    """
    products = int(product[-1]) + 1
    rows, places = product_rows(of, specs, products), ranks(product)
    given = picture_input(of.given, of.joint)
    for start in range(0, len(pictures), of.batch):
        some = slice(start, start + of.batch)
        batch = torch.zeros((of.batch, 3, given.size, given.size), device=of.device)
        batch[: len(pictures[some])] = resize(pictures[some], given, of.device)
        rows.add(batch, np.arange(len(pictures[some])), product[some], places[some])
    return rows.logits(products)


@torch.inference_mode()
def joint_probabilities(
    of: Running,
    pictures: Sequence[Tensor],
    product_id: Int64,
    specs: Sequence[ViewSpec],
    probabilities: Callable[[Tensor], Tensor],
) -> npt.NDArray[np.float16]:
    """As `workers.vision.forward.forward_probabilities`, for each image what is said of its product: float16 [n, views,
    classes]. `product_id` int64[n], whole products together.
    """
    _, product = grouped(product_id)
    said = [probabilities(of_view) for of_view in joint_logits(of, pictures, product, specs)]
    return torch.stack(said, dim=1).to(torch.float16).cpu().numpy()[product]
