import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.domain import splits
from shared.domain.ensemble import Member
from shared.packs import Manifest
from workers.training import holdout
from workers.training.dataset import Images, Parts
from workers.training.objectives import OneCategory

Bench = Any


def parts_of(product_id: list[int], classes: list[int], seen: list[bool], part: list[int]) -> Parts:
    rows = np.arange(len(product_id))
    images = Images(("pack",), rows.astype(np.int32), rows, rows, np.array(product_id), rows, np.array(classes), rows)
    return Parts(images, images, images, np.array(part, dtype=np.int8), np.array(seen), np.ones(len(part), np.bool_))


def test_without_held_out_images_there_is_no_figure() -> None:
    found = holdout.Tally(OneCategory(0.0)).metrics()
    nothing = {"accuracy": None, "n": 0, "interval": None}
    assert found["products"]["all"] == found["top5"]["images"] == nothing
    assert found["macro"] == {"precision": None, "recall": None, "f1": None, "n": 0}


def test_figures_by_hand() -> None:
    parts = parts_of(
        product_id=[1, 1, 2, 3, 4, 5],
        classes=[0, 0, 1, 1, 1, 0],
        seen=[True, True, False, False, False, True],
        part=[splits.HOLDOUT] * 4 + [splits.BLEND, splits.HOLDOUT],
    )
    probabilities = np.array(
        [[0.1, 0.9], [0.95, 0.05], [0.2, 0.8], [0.9, 0.1], [0.9, 0.1], [np.nan, np.nan]], dtype=np.float32
    )
    tally = holdout.Tally(OneCategory(0.0))
    tally.add(probabilities[:2], parts, 0)
    tally.add(probabilities[2:], parts, 2)
    found = tally.metrics()
    assert found["images"]["n"] == 4  # the blend product and the undecodable image are left out
    assert found["images"]["accuracy"] == 0.5
    assert found["products"]["all"]["accuracy"] == pytest.approx(2 / 3)  # product 1 is right by the mean of its images
    assert (found["products"]["seen"]["n"], found["products"]["seen"]["accuracy"]) == (1, 1.0)
    assert (found["products"]["new"]["n"], found["products"]["new"]["accuracy"]) == (2, 0.5)
    assert found["undecodable"] == 1
    assert (found["top5"]["images"]["n"], found["top5"]["products"]["accuracy"]) == (4, 1.0)  # of two classes
    assert found["macro"]["n"] == 3
    assert found["macro"]["recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["macro"]["precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["macro"]["f1"] == pytest.approx(2 / 3)


def test_undecodable_images_are_counted_in_training_and_marked_in_the_scores(
    bench: Bench, tiny: Member, make_dataset: Callable[..., Manifest]
) -> None:
    bench.manifest = make_dataset(bench.objects, spoiled=frozenset(range(100, 140, 4)))
    run = bench.declare(replace(tiny, batch_size=30))
    bench.train(run)
    metrics = json.loads(bench.file(run, "metrics.json"))
    assert metrics["training"]["undecodable"] > 0
    assert metrics["holdout"]["undecodable"] > 0
    assert any("could not be decoded" in line for line in bench.said)
    with bench.objects.open(f"runs/{run}/holdout/scores-00000.npy") as file:
        spoiled = np.isnan(np.load(file)).any(axis=(1, 2))
    assert int(spoiled.sum()) == metrics["holdout"]["undecodable"]
