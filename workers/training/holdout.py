"""What a trained network says of the products it has not seen: scores, and the accuracies they give."""

from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from shared import layout
from shared.domain import views
from shared.domain.ensemble import Member
from shared.domain.product_images import EACH_IMAGE
from shared.holdout_scores import VIEWS, file_starts, scores_key
from shared.ports import Objects
from workers.training import figures
from workers.training.answering import probabilities_of, whole_products
from workers.training.dataset import Parts
from workers.training.device import Device
from workers.training.objectives import Objective, OneCategory
from workers.training.pictures import PictureSource
from workers.training.preemption import PreemptedError
from workers.training.sheets import of_products

_BATCH_IMAGES = 128

Scores = npt.NDArray[np.float16]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class HoldoutScorer:
    """Scores the held-out images of a run into `holdout/`, file by file; files that are there are kept."""

    def __init__(
        self,
        objects: Objects,
        run: str,
        member: Member,
        parts: Parts,
        device: Device,
        *,
        progress: Callable[[int, int], None],
        preempted: Callable[[], bool],
        objective: Objective | None = None,
    ) -> None:
        """`objective` None: one category."""
        self._objects = objects
        self._run = run
        self._member = member
        self._parts = parts
        self._device = device
        self._progress = progress
        self._preempted = preempted
        self._objective = objective or OneCategory(0.0)

    def run(self, module: nn.Module, source: PictureSource, classes: int) -> dict[str, Any]:
        """Write the scores, then what their rows are; returns the holdout's metrics. Raises PreemptedError.

        Rows of images that cannot be decoded, or whose products the member does not see, are NaN.
        """
        held = self._parts.held_out
        module.eval()
        tally = Tally(self._objective)
        starts = file_starts(held.product_id)
        for number, (start, stop) in enumerate(pairwise([*starts, len(held)])):
            key = scores_key(self._run, number)
            if not self._objects.exists(key):
                self._objects.put(key, _npy(self._score(module, source, np.arange(start, stop), classes)))
            scores: Scores = np.load(BytesIO(self._objects.read(key)))
            tally.add(scores.astype(np.float32).mean(axis=1), self._parts, int(start))
            self._progress(int(stop), len(held))
        for name, array in self._rows().items():
            self._objects.put(layout.run_file(self._run, f"holdout/{name}.npy"), _npy(array))
        return tally.metrics()

    def _rows(self) -> dict[str, npt.NDArray[Any]]:
        held = self._parts.held_out
        return {
            "product_id": held.product_id,
            "number": held.number,
            "row": held.row,
            "class_index": held.class_index,
            "part": self._parts.part,
            "seen": self._parts.seen,
        }

    def _score(self, module: nn.Module, source: PictureSource, rows: Int64, classes: int) -> Scores:
        seen = rows[self._parts.applies[rows]]
        product_id = self._parts.held_out.product_id
        batches = [seen[i : i + _BATCH_IMAGES] for i in range(0, len(seen), _BATCH_IMAGES)]
        if self._member.joint != EACH_IMAGE:
            batches = [seen[some] for some in whole_products(product_id[seen], _BATCH_IMAGES)]
        out = np.full((len(rows), len(VIEWS), classes), np.nan, dtype=np.float16)
        for batch in source.batches(batches):
            if self._preempted():
                raise PreemptedError
            if batch.pictures:
                out[batch.rows - rows[0]] = probabilities_of(
                    self._member,
                    module,
                    batch.pictures,
                    product_id[batch.rows],
                    [views.parse(name) for name in VIEWS],
                    self._device,
                    _BATCH_IMAGES,
                    self._objective.probabilities,
                )
        return out


class Tally:
    """Right and wrong answers over the holdout (not the blend part): per image and per product, all views averaged."""

    def __init__(self, objective: Objective) -> None:
        self._images, self._products = objective.sheet(), objective.sheet()
        self._seen: list[Bool] = [np.zeros(0, dtype=np.bool_)]
        self._undecodable = 0

    def add(self, probabilities: Float32, parts: Parts, start: int) -> None:
        """Count whole products: float32 [n, classes], rows `start` onwards of the held-out images.

        NaN rows (undecodable images) are counted and left out.
        """
        rows = slice(start, start + len(probabilities))
        mine, decoded = parts.judged(rows), ~np.isnan(probabilities[:, 0])
        self._undecodable += int((mine & ~decoded).sum())
        used = mine & decoded
        if not used.any():
            return
        product_id, truth = parts.held_out.product_id[rows][used], parts.held_out.class_index[rows][used]
        self._images.add(probabilities[used], truth)
        means, first = of_products(probabilities[used], product_id)
        self._products.add(means, truth[first])
        self._seen.append(parts.seen[rows][used][first])

    def metrics(self) -> dict[str, Any]:
        """Accuracies, and what `holdout` of the objective's sheet says.

        Products: `all`, those sharing an image with the training part (`seen`), and the `new` ones.
        """
        seen, right = np.concatenate(self._seen), self._products.right
        groups = {"all": np.ones_like(seen), "seen": seen, "new": ~seen}
        return {
            "images": figures.accuracy(self._images.right),
            "products": {name: figures.accuracy(right[which]) for name, which in groups.items()},
            **self._products.holdout(self._images),
            "undecodable": self._undecodable,
        }


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
