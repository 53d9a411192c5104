"""The engine where memory runs out: half the shape, and the same answers."""

import numpy as np
import pytest

from tests.engine_parts import Rig, catalog, chunk, picture, values
from workers.vision.devices import DeviceTooSmallError


def test_pictures_decoded_for_a_larger_batch_go_into_a_smaller_one():
    """Memory ran out in the first chunk: those of the second were decoded ahead already."""
    noise = np.random.default_rng(5)
    products = [[picture(*map(tuple, noise.integers(0, 256, (2, 3)).tolist()), side=4)] for _ in range(40)]
    halved = Rig(batch_images=8, fits=4).run(chunk(products[:20]), chunk(products[20:], first_id=40))
    plain = Rig(batch_images=4).run(chunk(products[:20]), chunk(products[20:], first_id=40))
    assert [result.halvings for result in halved] == [1, 0]
    assert [values(result.products) for result in halved] == [values(result.products) for result in plain]


def test_pictures_larger_than_the_bound_go_one_by_one(monkeypatch):
    given = chunk(catalog(14, 4))
    expected = Rig(batch_images=8).products_of(given)
    monkeypatch.setattr("workers.scoring.decoders._BYTES", 1)

    assert Rig(batch_images=8).products_of(given) == expected


def test_out_of_memory_halves_the_shape_and_goes_on():
    chunks = [chunk(catalog(seed, 6), first_id=10 * seed) for seed in (1, 2, 3)]
    rig = Rig(batch_images=16, fits=5)
    results = rig.run(*chunks)

    assert rig.halved == [8, 4]
    assert rig.engine.batch_images == 4
    assert [(result.batch_images, result.halvings) for result in results] == [(4, 2), (4, 0), (4, 0)]
    assert [p for result in results for p in result.products] == Rig(batch_images=4).products_of(*chunks)


def test_a_device_that_holds_no_single_picture_is_not_the_products_fault():
    rig = Rig(batch_images=2, fits=0)
    with pytest.raises(DeviceTooSmallError, match="one picture at a time does not fit"):
        rig.run(chunk(catalog(1)))
    assert rig.halved == [1]


def test_warming_up_finds_the_shape_that_fits():
    rig = Rig(batch_images=16, fits=5)
    rig.engine.warm_up()

    assert rig.engine.batch_images == 4
    assert rig.halved == []
    with pytest.raises(DeviceTooSmallError):
        Rig(fits=0).engine.warm_up()
