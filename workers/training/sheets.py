"""What is kept of many answers to be judged: no scores, only what the figures of a task need."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.domain import label_figures
from shared.domain.fits import SURE
from shared.domain.label_sets import LabelSets
from workers.training import figures

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_NO_MACRO = {"precision": None, "recall": None, "f1": None}


class Sheet(Protocol):
    """Answers to n images, or to n products."""

    def add(self, probabilities: Float32, truth: Int64) -> None:
        """Take [m, classes] and what is known: classes, or rows of label sets, int64[m]."""

    @property
    def right(self) -> Bool:
        """Which answers are right: bool[n]."""

    def holdout(self, images: Any) -> dict[str, Any]:
        """What a run's metrics say of products, beside their accuracy, and of their `images`, a sheet of this class."""

    def watch(self, images: Any) -> dict[str, Any]:
        """The same as an epoch of the log has them; n is not 0."""


class CategorySheet:
    """Of one category."""

    def __init__(self) -> None:
        self._answers: list[Int64] = [np.zeros((0, 3), dtype=np.int64)]  # place of the class, answer, class
        self._probability: list[Float32] = [np.zeros(0, dtype=np.float32)]  # of the answer

    def add(self, probabilities: Float32, truth: Int64) -> None:
        """See `Sheet`."""
        self._answers.append(figures.answers(probabilities, truth))
        self._probability.append(probabilities.max(axis=1))

    @property
    def right(self) -> Bool:
        """The best class."""
        return np.asarray(self._place == 0)

    def holdout(self, images: "CategorySheet") -> dict[str, Any]:
        """`top5`: among the best five, images and products; `macro`: `figures.macro` of products, null without any."""
        _, answer, truth = np.concatenate(self._answers).T
        return {
            "top5": {
                "images": figures.accuracy(images._place < figures.TOP),
                "products": figures.accuracy(self._place < figures.TOP),
            },
            "macro": {**(figures.macro(truth, answer) if len(truth) else _NO_MACRO), "n": len(truth)},
        }

    def watch(self, images: "CategorySheet") -> dict[str, Any]:
        """Shares `image_top1`, `image_top5`, `product_top1`, `product_top5`; `precision`, `recall` and `f1` of products
        (`figures.macro`), `half` of images (`figures.half`)."""
        of_products, of_images = np.concatenate(self._answers), np.concatenate(images._answers)
        shares = {
            f"{name}_top{top}": float((rows[:, 0] < top).mean())
            for name, rows in (("image", of_images), ("product", of_products))
            for top in (1, figures.TOP)
        }
        half = figures.half(of_images[:, 2], of_images[:, 1], np.concatenate(images._probability))
        return {**shares, **figures.macro(of_products[:, 2], of_products[:, 1]), "half": half}

    @property
    def _place(self) -> Int64:
        return np.concatenate(self._answers)[:, 0]


class LabelSheet:
    """Of label sets, answered at `SURE`."""

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets
        self._exact: list[Bool] = [np.zeros(0, dtype=np.bool_)]
        self._counts: Int64 = np.zeros((3, sets.labels), dtype=np.int64)

    def add(self, probabilities: Float32, truth: Int64) -> None:
        """See `Sheet`."""
        said, known = probabilities > SURE, self._sets.dense(truth) > 0
        self._exact.append((said == known).all(axis=1))
        self._counts = self._counts + label_figures.counts(said, known)

    @property
    def right(self) -> Bool:
        """The whole set."""
        return np.concatenate(self._exact)

    def holdout(self, images: "LabelSheet") -> dict[str, Any]:  # noqa: ARG002
        """`micro` and `macro` precision, recall and F1 of products."""
        n = len(self.right)
        return {
            "micro": {**label_figures.micro(self._counts), "n": n},
            "macro": {**label_figures.macro(self._counts), "n": n},
        }

    def watch(self, images: "LabelSheet") -> dict[str, Any]:
        """Shares `image_exact` and `product_exact` of whole sets; of products `micro_f1`, and as means over labels
        `precision`, `recall` and `f1`."""
        return {
            "image_exact": float(images.right.mean()),
            "product_exact": float(self.right.mean()),
            "micro_f1": label_figures.micro(self._counts)["f1"],
            **label_figures.macro(self._counts),
        }


def of_products(probabilities: Float32, product_id: Int64) -> tuple[Float32, Int64]:
    """Means [p, classes] over the images [n, classes] of whole products, which lie together, and their first rows."""
    first = np.flatnonzero(np.r_[True, product_id[1:] != product_id[:-1]])
    lengths = np.diff(np.append(first, len(product_id)))
    return (np.add.reduceat(probabilities, first, axis=0) / lengths[:, None]).astype(np.float32), first
