"""A comparison of label sets against scikit-learn's F1 of labels that a loop over products answers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from shared import layout, wiring
from shared.packs import Manifest
from shared.settings import Settings
from tests.label_scene import LABELS, relabelled
from tests.unit.test_comparison import FILE, House

MULTILABEL = FILE.replace("name: tiny", "name: tiny\ntask: multilabel") + "duplicates: {products: none}\n"
SETS = np.array([[label in labels for label in (1000, 1001, 1002)] for labels in LABELS])


@pytest.fixture
def house(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> House:
    stores = wiring.stores(Settings(home=tmp_path))
    house = House(stores, relabelled(stores.objects, make_dataset(stores.objects)), MULTILABEL)
    for run, learnt in (("run-a", "labels: [0, 1]"), ("run-b", "{}"), ("run-other", "{}")):
        stores.objects.put(layout.run_file(run, "member.yaml"), learnt.encode())
    return house


def by_hand(house: House, weights: Mapping[str, np.ndarray], told: bool = False) -> float:
    """The micro F1 on the holdout of split A; `weights` of each member per label, of one view and arithmetic means.

    `told`: an image that training has with one set only stands for its labels.
    """
    held = house.held["a"]
    trained: dict[tuple[int, ...], set[int]] = {}
    out = set(held.product_id.tolist())
    for row, product in enumerate(house.index.product_id.tolist()):
        for image in house.index.image_md5[house.index.first_image[row] : house.index.first_image[row + 1]].tolist():
            if product not in out:
                trained.setdefault(tuple(image), set()).add(product % 3)
    said, true = [], []
    for product in dict.fromkeys(held.product_id.tolist()):
        images = []
        (place,) = np.flatnonzero(house.index.product_id == product)
        for row in np.flatnonzero(held.product_id == product):
            md5 = tuple(house.index.image_md5[house.index.first_image[place] + held.number[row]].tolist())
            known = trained.get(md5, set())
            if told and len(known) == 1:
                images.append(SETS[next(iter(known))].astype(float))
                continue
            parts = [of * house.scores[name][row, 0].astype(float) for name, of in weights.items()]
            images.append(sum(parts) / sum(weights.values()))
        said.append(np.mean(images, axis=0) > 0.5)
        true.append(SETS[product % 3])
    return float(f1_score(np.array(true), np.array(said), average="micro", zero_division=0))


def test_every_way_is_judged_by_the_f1_of_all_labels(house: House) -> None:
    found = house.compare()
    shares = {(table.title, row.name): row.all.mean for table in found.tables for row in table.rows}
    alone = {"b": np.ones(3)}
    assert shares["members, networks alone", "b"] == pytest.approx(by_hand(house, alone))
    assert shares["members, with image duplicates", "b"] == pytest.approx(by_hand(house, alone, told=True))
    assert shares["members, with image duplicates", "b"] != shares["members, networks alone", "b"]
    both = {"a": np.array([1.0, 1.0, 0.0]), "b": np.array([3.0, 3.0, 3.0])}  # `a` has not learnt the last label
    assert shares["combinations", "both, networks alone"] == pytest.approx(by_hand(house, both))
    assert shares["as the file says", "both"] == pytest.approx(by_hand(house, both, told=True))


def test_what_is_of_one_category_has_no_row(house: House) -> None:
    rows = {row.name for table in house.compare().tables for row in table.rows}
    assert {"none", "unique", "majority", "l1"} < rows
    assert not rows & {"l2", "softmax", "members: plurality"}


def test_new_and_seen_products_and_paired_gains(house: House) -> None:
    found = house.compare()
    reference = found.tables[0].rows[0]
    assert reference.difference is None
    assert reference.all.n == reference.new.n + reference.seen.n == found.products
    for table in found.tables:
        for row in table.rows:
            assert row.all.low <= row.all.mean <= row.all.high
            if row.difference:
                assert row.difference.mean == pytest.approx(row.all.mean - reference.all.mean)
                assert row.difference.low <= row.difference.mean <= row.difference.high
    header, first, *_ = found.lines()
    assert dict(zip(header, first, strict=True))["micro_f1"] == f"{reference.all.mean:.6f}"
    assert found.plain()["tables"][0]["rows"][0]["all"]["mean"] == reference.all.mean
