from collections.abc import Sequence

import numpy as np

from shared.domain.product_images import EACH_IMAGE, Joint
from workers.training.answering import whole_products
from workers.training.dataset import Images
from workers.training.units import Units
from workers.vision.joint import grouped


def some_images(product_id: Sequence[int]) -> Images:
    ids = np.array(product_id)
    rows = np.arange(len(ids))
    return Images((), np.zeros(len(ids), np.int32), rows, rows, ids, rows - np.searchsorted(ids, ids), ids % 3, rows)


def test_units_are_products_of_a_joint_member_and_images_of_another() -> None:
    images = some_images([1, 1, 1, 4, 6, 6, 6, 6, 6, 9])
    each, joint = Units(images, EACH_IMAGE), Units(images, Joint(kind="fused", most=3))
    assert (len(each), len(joint)) == (10, 4)
    assert joint.first.tolist() == [0, 3, 4, 9]
    assert joint.heads.product_id.tolist() == [1, 4, 6, 9]
    assert joint.rows(np.array([2, 0, 3])).tolist() == [4, 5, 6, 0, 1, 2, 9]
    assert joint.rows(np.array([2, 0, 3]), {5, 1, 9}).tolist() == [4, 6, 7, 0, 2]
    assert each.rows(np.array([7, 2])).tolist() == [7, 2]
    assert each.rows(np.array([7, 2]), {2, 3}).tolist() == [7]
    assert (each.count(np.array([7, 2])), joint.count(np.array([4, 6, 0, 9])), joint.count(np.zeros(0, int))) == (
        2,
        3,
        0,
    )
    assert len(Units(some_images([]), Joint(kind="tiled"))) == 0
    drawn = joint.rows(np.array([2, 2, 1, 1, 0]))  # by sampling, which may draw a product twice in succession
    assert joint.count(drawn) == 5
    assert grouped(images.product_id[drawn], drawn)[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 4]
    assert [(s.start, s.stop) for s in whole_products(images.product_id, 4)] == [(0, 4), (4, 9), (9, 10)]
