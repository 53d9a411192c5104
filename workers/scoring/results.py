"""From finished products to results: duplicates that decide, predictions, errors, kept scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from shared.domain.duplicates import DECIDED_BY_IMAGES
from shared.domain.fits import Fit, decide, worth
from shared.domain.records import Prediction
from shared.domain.taxonomy import Taxonomy
from workers.scoring.batches import Finished
from workers.scoring.chunks import Plan, ProductResult
from workers.scoring.summaries import KEPT, Kept, Summarising, keep

Predictions = Mapping[str, Prediction]


class Results:
    """Collects the results of one chunk's products, in any order of arrival."""

    def __init__(
        self, plan: Plan, taxonomy: Taxonomy, fits: Mapping[str, Fit], summariser: Summarising, keep_scores: bool
    ) -> None:
        """`fits` has every combination, in order."""
        self._plan = plan
        self._taxonomy = taxonomy
        self._fits = fits
        self._combinations = list(fits)
        self._decides = any(fit.thresholds for fit in fits.values())
        self._summariser = summariser
        self._keep_scores = keep_scores
        self._results: dict[int, ProductResult] = {}
        self._scores: dict[int, Kept] = {}
        index, decisions = plan.chunk.index, plan.decisions
        self._ids = index.product_id.tolist()
        by_key = decisions.product_class >= 0  # else images that all agree may give the class; -1 for none
        self._class_of = np.where(by_key, decisions.product_class, decisions.decided).tolist()
        known = np.append(0, np.cumsum(decisions.overrides.known))[index.first_image]
        self._shares = (np.diff(known) / np.maximum(np.diff(index.first_image), 1)).tolist()
        network = set(plan.network)
        for product in range(len(index)):
            if product not in network:
                self._add_overridden(product, {})
            elif index.first_image[product] == index.first_image[product + 1]:
                self._add_empty(product, "")

    def __len__(self) -> int:
        return len(self._results)

    def in_order(self) -> list[ProductResult]:
        """One result per product of the chunk."""
        return [self._results[product] for product in range(len(self._plan.chunk.index))]

    @torch.inference_mode()
    def add(self, finished: Finished) -> None:
        """Products that went through the means."""
        answer = torch.where(finished.answer_sound.unsqueeze(-1), finished.answer, finished.network)
        network_sound = finished.network_sound.cpu().numpy()
        answer_sound = finished.answer_sound.cpu().numpy()
        alone = with_duplicates = self._predictions(finished.network, network_sound)
        if finished.answer is not finished.network:
            with_duplicates = self._predictions(answer, answer_sound | network_sound)
        kept = keep(answer.flatten(0, 1)) if self._keep_scores else None
        of_answers, of_network = finished.answer_images.tolist(), finished.network_images.tolist()
        overridden = np.any(answer_sound, axis=0).tolist()
        for row, product in enumerate(finished.products.tolist()):
            if not of_answers[row]:
                self._add_empty(product, finished.reasons[product])
                continue
            if kept is not None:
                rows = np.arange(len(self._combinations)) * answer.shape[1] + row
                self._scores[product] = kept.take(rows)
            if self._class_of[product] >= 0:
                self._add_overridden(product, alone[row])
            elif len(with_duplicates[row]) == len(self._combinations):
                share = self._shares[product] if overridden[row] else 0.0
                source = "image duplicate" if share else "model"
                answers = self._decided(source, with_duplicates[row])
                self._set(product, ProductResult(self._ids[product], source, share, answers, alone[row]))
            elif of_network[row]:
                self._add_error(product, "the networks' output is not finite")
            else:
                self._add_error(product, "no image of it can be decoded, and its duplicates decide nothing")

    def scores(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays that `ChunkResult.scores` describes."""
        kept = [p for p, result in sorted(self._results.items()) if result.predictions]
        shape = (len(kept), len(self._combinations), min(KEPT, self._taxonomy.classes))
        class_index, probability = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        rest = np.zeros(shape[:2], np.float32)
        for place, product in enumerate(kept):
            one = self._scores[product]
            class_index[place], probability[place], rest[place] = one.class_index, one.probability, one.rest
        return {
            "product": self._plan.chunk.index.product_id[kept],
            "combination": np.array(self._combinations),
            "class_index": class_index,
            "probability": probability,
            "rest": rest,
        }

    def _predictions(self, probabilities: torch.Tensor, sound: npt.NDArray[np.bool_]) -> Sequence[Predictions]:
        """Per row, the combinations that are sound."""
        rows = np.flatnonzero(sound)
        predictions = self._summariser.predict(probabilities.flatten(0, 1), rows)
        by_row: list[dict[str, Prediction]] = [{} for _ in range(sound.shape[1])]
        for place, prediction in zip(rows.tolist(), predictions, strict=True):
            combination, row = divmod(place, sound.shape[1])
            by_row[row][self._combinations[combination]] = prediction
        return by_row

    def _add_empty(self, product: int, reason: str) -> None:
        """A product of which no image is left."""
        if self._class_of[product] >= 0:
            self._add_overridden(product, {})
        elif reason:
            self._add_error(product, f"no image of it can be decoded; the first: {reason}")
        else:
            self._add_error(product, "it has no images")

    def _add_overridden(self, product: int, alone: Predictions) -> None:
        """A product whose class duplicates give, whatever the network says."""
        decisions, class_index = self._plan.decisions, self._class_of[product]
        by_images = decisions.product_class[product] < 0 and decisions.decided_by[product] == DECIDED_BY_IMAGES
        source = "image duplicate" if by_images else "product duplicate"
        prediction = self._summariser.certain(class_index)
        predictions: Predictions = dict.fromkeys(self._combinations, prediction)
        if self._decides:
            told = {name: worth(self._fits[name], source, prediction) for name in self._combinations}
            predictions = self._decided(source, told)
        if self._keep_scores:
            one = keep(torch.from_numpy(self._summariser.decided(class_index))[None])
            self._scores[product] = one.take(np.zeros(len(self._combinations), dtype=np.int64))
        self._set(product, ProductResult(self._ids[product], source, self._shares[product], predictions, alone))

    def _decided(self, source: str, predictions: Predictions) -> Predictions:
        """The same with their decisions; the very same without thresholds."""
        if not self._decides:
            return predictions
        return {
            name: replace(prediction, decision=decide(self._fits[name], source, prediction))
            for name, prediction in predictions.items()
        }

    def _add_error(self, product: int, reason: str) -> None:
        self._set(product, ProductResult(self._ids[product], error=reason))

    def _set(self, product: int, result: ProductResult) -> None:
        self._results[product] = result
