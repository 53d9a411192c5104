import threading
from dataclasses import replace

import bson
import numpy as np
import pytest
import torch

from shared.domain.errors import StoreUnavailableError
from shared.domain.predictions import DECIMALS, predict
from tests.engine_parts import (
    CLASSES,
    CPU,
    TAXONOMY,
    Colours,
    Rig,
    catalog,
    chunk,
    md5s,
    picture,
    random_picture,
    values,
)
from workers.scoring.accumulate import DeviceMeans
from workers.vision.devices import torch_threads

BROKEN = b"\xff\xd8\xffthis is no picture"


def test_results_stand_in_the_order_of_the_index_and_chunks():
    first, second = chunk(catalog(1), first_id=10), chunk(catalog(2, 3), first_id=50)
    results = Rig().run(first, second)

    assert [result.key for result in results] == ["chunk 10", "chunk 50"]
    assert [p.product for result in results for p in result.products] == [*range(10, 23), 50, 51, 52]
    assert [result.scored_images for result in results] == [first.index.images, second.index.images]
    assert all(set(result.seconds) == {"look-up", "decode", "forward"} for result in results)
    assert all(seconds >= 0 for result in results for seconds in result.seconds.values())


def test_a_prediction_is_the_mean_of_views_members_and_images():
    red, dull = (250, 10, 10), (100, 110, 90)
    rig = Rig()
    (found,) = rig.products_of(chunk([[picture(red, dull), picture(dull)]]))

    def softmax(colour, network):
        pixel = (torch.tensor(colour) / 255 - 0.5) / 0.5
        return (pixel @ network.module.weights).double().softmax(0).numpy()

    per_network = [
        np.mean([softmax(c, network) for c in (red, dull, dull, dull)], axis=0) for network in rig.networks.values()
    ]
    (expected,) = predict(np.mean(per_network, axis=0)[None], TAXONOMY, CLASSES)
    (expected_one,) = predict(per_network[0][None], TAXONOMY, CLASSES)

    for name, wanted in (("one", expected_one), ("all", expected)):
        assert found.predictions[name].class_index == wanted.class_index
        assert found.predictions[name].category_id == wanted.category_id
        assert [i for i, _ in found.predictions[name].top] == [i for i, _ in wanted.top]
        np.testing.assert_allclose([p for _, p in found.predictions[name].top], [p for _, p in wanted.top], atol=1e-6)
        np.testing.assert_allclose(found.predictions[name].entropy, wanted.entropy, atol=1e-5)
    assert found.model_only == found.predictions
    assert (found.source, found.overridden, found.error) == ("model", 0.0, "")


def test_a_product_does_not_depend_on_its_neighbours_or_cuts():
    products = catalog(3)
    together = Rig().products_of(chunk(products))
    one_by_one = Rig().products_of(*(chunk([product], first_id=i) for i, product in enumerate(products, start=1)))
    behind_others = Rig().products_of(chunk([*catalog(4, 5), *products]))[5:]
    backwards = Rig().products_of(chunk(products[::-1]))[::-1]

    assert one_by_one == together
    assert values(behind_others) == values(together)
    assert values(backwards) == values(together)


def test_it_says_how_many_products_it_is_through_with_of_the_chunk_that_it_is_at():
    noise = np.random.default_rng(5)
    first, second = (chunk([[random_picture(noise)] for _ in range(300)], first_id=one) for one in (1, 400))
    rig, told = Rig(batch_images=16), []
    rig.engine.on_batch = lambda: told.append([rig.engine.through(one.key) for one in (first, second)])
    results = rig.engine.run(iter([first, second]))
    next(results)
    assert [rig.engine.through(one.key) for one in (first, second)] == [300, 0]
    next(results)
    of_first, of_second = zip(*told[:19], strict=True)
    assert of_first[0] == 0 < of_first[18] < 300
    assert (list(of_first), set(of_second)) == (sorted(of_first), {0})
    assert {one for one, _ in told[19:]} == {0}
    assert next(results, None) is None
    assert rig.engine.through(second.key) == 0


def test_every_forward_pass_has_the_same_shape():
    rig = Rig(batch_images=6)
    rig.run(chunk(catalog(5, 7)), chunk(catalog(6, 1), first_id=90))

    assert set(rig.shapes) == {(6, 3, 4, 4)}


def test_only_networks_use_several_threads(monkeypatch):
    """Whatever else is done would wait for threads whose cores decode."""
    with torch_threads(3):
        rig = Rig()
        of_networks, of_means = set(), set()
        enter = DeviceMeans.enter
        forward = Colours.forward
        count = torch.get_num_threads
        monkeypatch.setattr(Colours, "forward", lambda *of: of_networks.add(count()) or forward(*of))
        monkeypatch.setattr(DeviceMeans, "enter", lambda *of: of_means.add(count()) or enter(*of))
        rig.run(chunk(catalog(5, 7)))
        assert (of_networks, of_means, count()) == ({3}, {1}, 3)


def test_a_product_with_more_images_than_a_batch():
    noise = np.random.default_rng(7)
    large = [random_picture(noise) for _ in range(23)]
    products = [*catalog(8, 2), large, *catalog(9, 2)]

    assert Rig().products_of(chunk(products)) == Rig(batch_images=64).products_of(chunk(products))


def test_undecodable_images_are_left_out_and_only_those():
    noise = np.random.default_rng(10)
    good = random_picture(noise)
    found = Rig().products_of(chunk([[good], [BROKEN, good, BROKEN], [BROKEN, BROKEN + b"2"], [good]]))

    assert values(found[1:2]) == values(found[0:1]) == values(found[3:4])
    assert found[2].predictions == found[2].model_only == {}
    assert found[2].error.startswith("no image of it can be decoded; the first: damaged header")


def test_blocks_of_products_sizes_and_undecodable_images_may_lie_anywhere():
    noise = np.random.default_rng(15)
    sides = (4, 8, 5)  # the first is the input's own
    pictures = [[picture(tuple(noise.integers(0, 256, 3).tolist()), side=side) for side in sides] for _ in range(120)]
    some = [[], [BROKEN], [BROKEN, pictures[0][0]]]
    products = [product for i, of in enumerate(pictures) for product in (of[: 1 + i % 3], of[1:2], some[i % 3])]
    expected = [Rig().products_of(chunk([product]))[0] for product in products[:12]]

    found = Rig(batch_images=5).products_of(chunk(products))

    assert values(found[:12]) == values(expected)
    assert found == Rig(batch_images=600).products_of(chunk(products))


@pytest.mark.parametrize("batch_images", [3, 8, 64])
def test_pictures_of_the_inputs_size_are_decoded_where_the_network_reads_them(batch_images):
    """Beside others, and beside some that cannot be decoded: what a product is told depends on none of it."""
    noise = np.random.default_rng(23)
    sides = noise.choice([4, 4, 4, 8, 0], 150)
    fitting = noise.integers(0, 256, (150, 2, 3)).tolist()
    pictures = [
        picture(*map(tuple, two), side=side) if side else BROKEN for two, side in zip(fitting, sides, strict=True)
    ]
    pictures[:40] = [picture(*map(tuple, two), side=4) for two in fitting[:40]]
    products = [pictures[i : i + 1 + i % 3] for i in range(0, 147, 3)]

    together = Rig(batch_images=batch_images).run(chunk(products[:30]), chunk(products[30:], first_id=40))
    alone = [Rig(batch_images=batch_images).run(chunk([product]))[0].products[0] for product in products]
    assert values([p for result in together for p in result.products]) == values(alone)


def test_a_product_without_images_is_an_error_and_stops_nothing():
    found = Rig().products_of(chunk([[], [random_picture(np.random.default_rng(11))], []]))

    assert [bool(result.error) for result in found] == [True, False, True]
    assert found[0].error == "it has no images"


def test_a_chunk_without_a_single_picture_does_not_touch_the_network():
    rig = Rig()
    (result,) = rig.run(chunk([[BROKEN], []]))

    assert result.scored_images == 0
    assert rig.shapes == []
    assert all(product.error for product in result.products)


def test_output_that_is_not_finite_is_the_products_error():
    rig = Rig()
    rig.networks["b"].module.weights[:] = torch.nan
    (found,) = rig.products_of(chunk([[random_picture(np.random.default_rng(12))]]))

    assert found.error == "the networks' output is not finite"


def test_one_off_answers_equal_scored_products():
    products = catalog(13, 6)
    rig = Rig()
    scored = rig.products_of(chunk(products))

    for product, expected in zip(products, scored, strict=True):
        found, seconds = rig.engine.answer(product)
        assert values([found]) == values([expected])
        assert set(seconds) == {"look-up", "decode", "forward"}
    assert rig.engine.batch_images == 4
    assert rig.shapes[-1][0] == min(4, len(products[-1]))


def test_real_photographs_in_their_documents(grocery):
    content = (grocery / "test.bson").read_bytes()
    documents = bson.decode_all(content)[:4]
    pictures = [[image["picture"] for image in document["imgs"]] for document in documents]
    given = chunk(pictures)
    offsets = [content.index(picture) for product in pictures for picture in product]
    index = replace(given.index, image_offset=np.array(offsets, dtype=np.int64))

    assert (index.image_md5 == md5s([p for product in pictures for p in product])).all()
    assert Rig().products_of(replace(given, index=index, content=content, start=0)) == Rig().products_of(given)


def test_chunks_are_pulled_at_most_two_ahead():
    pulled, asked = [], threading.Event()

    def chunks():
        for first_id in range(1, 9):
            pulled.append(first_id)
            if first_id == 3:
                asked.set()
            yield chunk(catalog(first_id, 1), first_id=first_id)

    results = Rig().engine.run(chunks())
    next(results)
    assert len(pulled) <= 2
    next(results)
    assert asked.wait(10)
    assert len(pulled) <= 3
    results.close()
    assert len(pulled) <= 4


def test_what_the_source_of_chunks_raises_comes_after_the_results_before():
    def chunks():
        yield chunk(catalog(1, 2))
        raise StoreUnavailableError("the store is away")

    results = Rig().engine.run(chunks())

    assert len(next(results).products) == 2
    with pytest.raises(StoreUnavailableError, match="away"):
        next(results)


def test_other_failures_of_a_network_are_not_hidden(monkeypatch):
    rig = Rig()
    monkeypatch.setattr(rig.networks["a"].module, "weights", torch.zeros(1, device=CPU))
    with pytest.raises(IndexError):
        rig.run(chunk(catalog(1)))


def test_kept_scores():
    rig = Rig(keep_scores=True)
    (result,) = rig.run(chunk([*catalog(15, 3), [BROKEN]]))
    scores = result.scores

    assert scores["product"].tolist() == [1, 2, 3]
    assert scores["combination"].tolist() == ["one", "all"]
    assert scores["class_index"].shape == scores["probability"].shape == (3, 2, CLASSES)
    np.testing.assert_allclose(scores["rest"], 0, atol=1e-6)
    for row, product in enumerate(result.products[:3]):
        top = product.predictions["all"].top
        classes, probabilities = scores["class_index"][row, 1], scores["probability"][row, 1]
        rounded = probabilities.astype(np.float64).round(DECIMALS)
        assert tuple(zip(classes.tolist(), rounded.tolist(), strict=True)) == top


def test_kept_scores_of_nothing():
    (result,) = Rig(keep_scores=True).run(chunk([[BROKEN]]))

    assert result.scores["class_index"].shape == (0, 2, CLASSES)
