"""Right and wrong labels: precision, recall and F1 over all labels together (micro) and as means (macro)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import label_figures
from shared.domain.fits import SURE
from workers.training import figures
from workers.training.dataset import Parts
from workers.training.objectives import ManyLabels

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class _Counts:
    """Answers at `SURE` of images or products, counted."""

    def __init__(self) -> None:
        self._exact: list[Bool] = [np.zeros(0, dtype=np.bool_)]
        self._counts: Int64 = np.zeros((3, 0), dtype=np.int64)

    def add(self, probabilities: Float32, known: Bool) -> None:
        """Both [n, labels]."""
        said = probabilities > SURE
        self._exact.append((said == known).all(axis=1))
        counts = label_figures.counts(said, known)
        self._counts = counts if not self._counts.size else self._counts + counts

    @property
    def exact(self) -> Bool:
        """Whose whole set was answered: bool[n]."""
        return np.concatenate(self._exact)

    def micro(self) -> dict[str, float]:
        """Over all labels together."""
        return label_figures.micro(self._counts)

    def macro(self) -> dict[str, float]:
        """Means over the labels that occur."""
        return label_figures.macro(self._counts)


class WatchTally:
    """`workers.training.watch.Tally` for label sets."""

    def __init__(self, objective: ManyLabels) -> None:
        self._objective = objective
        self._loss = 0.0
        self._images, self._products = _Counts(), _Counts()

    def add(self, probabilities: Float32, losses: Float32, truth: Int64, product_id: Int64) -> None:
        """Count images of whole products, those of a product together: [n, labels], [n], [n], [n]."""
        self._loss += float(losses.sum(dtype=np.float64))
        self._images.add(probabilities, self._objective.known(truth))
        self._products.add(*_by_product(probabilities, truth, product_id, self._objective))

    def figures(self) -> dict[str, Any] | None:
        """`images`, `products`, `loss` (mean binary cross-entropy per image and label), shares `image_exact` and
        `product_exact` of whole sets, and of products `micro_f1` and `precision`, `recall`, `f1` (macro)."""
        images, products = self._images.exact, self._products.exact
        if not len(images) or not math.isfinite(self._loss):
            return None
        return {
            "images": len(images),
            "products": len(products),
            "loss": self._loss / len(images),
            "image_exact": float(images.mean()),
            "product_exact": float(products.mean()),
            "micro_f1": self._products.micro()["f1"],
            **self._products.macro(),
        }


class HoldoutTally:
    """`workers.training.holdout.Tally` for label sets."""

    def __init__(self, objective: ManyLabels) -> None:
        self._objective = objective
        self._images, self._products = _Counts(), _Counts()
        self._seen: list[Bool] = [np.zeros(0, dtype=np.bool_)]
        self._undecodable = 0

    def add(self, probabilities: Float32, parts: Parts, start: int) -> None:
        """Count whole products: float32 [n, labels], rows `start` onwards of the held-out images."""
        rows = slice(start, start + len(probabilities))
        mine, decoded = parts.judged(rows), ~np.isnan(probabilities[:, 0])
        self._undecodable += int((mine & ~decoded).sum())
        used = mine & decoded
        if not used.any():
            return
        product_id, truth = parts.held_out.product_id[rows][used], parts.held_out.class_index[rows][used]
        self._images.add(probabilities[used], self._objective.known(truth))
        self._products.add(*_by_product(probabilities[used], truth, product_id, self._objective))
        self._seen.append(parts.seen[rows][used][_first(product_id)])

    def metrics(self) -> dict[str, Any]:
        """Shares of whole sets, as of categories; `micro` and `macro` precision, recall and F1 of all products."""
        seen, products = np.concatenate(self._seen), self._products.exact
        groups = {"all": np.ones_like(seen), "seen": seen, "new": ~seen}
        return {
            "images": figures.accuracy(self._images.exact),
            "products": {name: figures.accuracy(products[which]) for name, which in groups.items()},
            "micro": {**self._products.micro(), "n": len(products)},
            "macro": {**self._products.macro(), "n": len(products)},
            "undecodable": self._undecodable,
        }


def _first(product_id: Int64) -> Int64:
    return np.flatnonzero(np.r_[True, product_id[1:] != product_id[:-1]])


def _by_product(probabilities: Float32, truth: Int64, product_id: Int64, objective: ManyLabels) -> tuple[Float32, Bool]:
    """Means over the images of each product, and its labels."""
    first = _first(product_id)
    lengths = np.diff(np.append(first, len(product_id)))
    means = np.add.reduceat(probabilities, first, axis=0) / lengths[:, None].astype(np.float32)
    return means.astype(np.float32), objective.known(truth[first])
