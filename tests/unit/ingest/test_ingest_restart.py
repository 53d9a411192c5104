import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared import layout
from shared.domain.errors import BadInputError, ConflictError
from shared.packs import read_manifest
from tests.mortal import Died, Mortal, dies

Products = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("store", ["objects", "catalog"])
def test_an_ingest_that_dies_at_any_change_goes_on_to_the_same_end(shop: Any, products: Products, store: str) -> None:
    documents = products(8)
    source = shop.dump([*documents, documents[3], b"\0\0\0\0 damage", *products(12, 8)[11:]])
    expected = shop.ingest(source, "expected", allow_bad=1)
    names = (f"d{lives}" for lives in range(1, 100))
    for lives, name in enumerate(names, 1):
        if not dies(shop, store, lives, lambda name=name: shop.ingest(source, name, allow_bad=1)):
            break
        manifest = shop.ingest(source, name, allow_bad=1)
        assert shop.contents(name) == shop.contents("expected")
        assert manifest == read_manifest(shop.objects, name) == replace(expected, dataset=name, packs=manifest.packs)
        assert shop.catalog.count_products(name) == expected.products
        assert shop.catalog.dataset(name).fingerprint == expected.fingerprint
    assert lives > (4 if store == "catalog" else 12)


def test_an_ingest_that_dies_while_it_cleans_up_after_bad_input_leaves_nothing_in_the_end(
    shop: Any, products: Products
) -> None:
    source = shop.dump([*products(8), b"\0\0\0\0 damage"])

    def attempt() -> None:
        with pytest.raises(BadInputError, match="length field is zero"):
            shop.ingest(source)

    lives = 1
    while dies(shop, "objects", lives, attempt):
        lives += 1
    assert lives > 4
    assert list(shop.objects.list("")) == []
    assert shop.catalog.ingest("d") is None


def begun(shop: Any, source: str, puts: int) -> None:
    shop.stores.objects = Mortal(shop.objects, ("put",), puts)
    with pytest.raises(Died):
        shop.ingest(source)
    shop.stores.objects = shop.objects


def packs_put(shop: Any, source: str) -> list[str]:
    shop.stores.objects = watched = Mortal(shop.objects, ("put",), 0)
    watched.lives = 10**9
    shop.ingest(source)
    return [key for key in watched.put_keys if key.endswith(".bson")]


def test_finished_packs_are_not_written_again(shop: Any, products: Products) -> None:
    source = shop.dump(products(60))
    begun(shop, source, 10)  # three puts for each pack
    assert layout.pack("d", 0) not in packs_put(shop, source)
    assert shop.progress[-1].bytes_done == shop.progress[-1].bytes_total


def test_a_stream_is_read_again_but_equal_packs_are_not_written_again(
    shop: Any, products: Products, standard_input: Callable[[bytes], None]
) -> None:
    content = Path(shop.dump(products(60))).read_bytes()
    standard_input(content)
    begun(shop, "-", 10)
    standard_input(content)
    assert packs_put(shop, "-")[0] == layout.pack("d", 3)


def test_another_stream_after_a_death_gives_its_own_packs(
    shop: Any, products: Products, standard_input: Callable[[bytes], None]
) -> None:
    standard_input(Path(shop.dump(products(60))).read_bytes())
    begun(shop, "-", 20)
    other = Path(shop.dump(products(20, 5), "other.bson"))
    expected = shop.ingest(str(other), "expected")
    standard_input(other.read_bytes())
    assert shop.ingest("-").fingerprint == expected.fingerprint
    assert shop.contents("d") == shop.contents("expected")


@pytest.mark.parametrize("change", ["source", "categories", "allow_bad"])
def test_what_changed_since_an_ingest_began_is_named(shop: Any, products: Products, change: str) -> None:
    source = shop.dump(products(60))
    begun(shop, source, 10)
    options = {}
    if change == "source":
        Path(source).write_bytes(Path(source).read_bytes()[:-1])
    elif change == "categories":
        shop.categories.write_bytes(shop.categories.read_bytes() + b"50,a,b,c\n")
    else:
        options["allow_bad"] = 3
    with pytest.raises(ConflictError, match=r"was begun.*`shelver rm dataset d`"):
        shop.ingest(source, **options)
    assert shop.catalog.ingest("d").state == "running"


def test_another_number_of_processes_may_go_on(shop: Any, products: Products, seed: int) -> None:
    source = shop.dump(products(60, seed))
    begun(shop, source, random.Random(seed).randrange(2, 20))
    shop.ingest(source, processes=2)
    shop.ingest(source, "expected")
    assert shop.contents("d") == shop.contents("expected")
