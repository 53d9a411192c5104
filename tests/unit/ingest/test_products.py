from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest import products as module
from services.ingest.products import Products, content_digests
from shared.packs import PackIndex


def index(products: list[tuple[int, int]]) -> PackIndex:
    """Products (id, picture) with one image each."""
    ids, pictures = (np.array([one[part] for one in products], dtype=np.int64) for part in (0, 1))
    places = np.arange(len(products), dtype=np.int64)
    md5 = np.stack([pictures, pictures], axis=1).astype(np.uint64)
    first = np.arange(len(products) + 1, dtype=np.int64)
    return PackIndex(ids, places, places + 1, ids * 0, first, places, places + 1, md5)


packs = st.lists(
    st.lists(st.tuples(st.integers(-(2**40), 2**40) | st.integers(0, 9), st.integers(0, 2)), max_size=30), max_size=8
)


@given(packs, st.sampled_from([1, 5, 64]))
def test_it_is_what_all_products_in_memory_would_say(packs: list[list[tuple[int, int]]], merged: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MERGED", merged)
        found = Products(map(index, packs))
    all_of_them = [product for pack in packs for product in pack]
    first: dict[int, int] = {}
    for place, (product, _) in enumerate(all_of_them):
        first.setdefault(product, place)
    repeated = sorted((product, place) for place, (product, _) in enumerate(all_of_them) if first[product] != place)
    assert found.repeated.tolist() == [place for _, place in repeated]
    assert found.first.tolist() == [first[product] for product, _ in repeated]
    assert found.conflicting.tolist() == [
        all_of_them[place][1] != all_of_them[first[product]][1] for product, place in repeated
    ]
    kept = [all_of_them[first[product]] for product in sorted(first)]
    digests = content_digests(index(kept))
    content = b"".join(
        np.int64(product).tobytes() + digest.tobytes() for (product, _), digest in zip(kept, digests, strict=True)
    )
    assert found.fingerprint() == sha256(content).hexdigest()


def test_packs_are_asked_for_one_by_one() -> None:
    asked: list[int] = []

    def written() -> Iterator[PackIndex]:
        for number in range(3):
            asked.append(number)
            yield index([(number, 0)])

    assert Products(written()).repeated.tolist() == []
    assert asked == [0, 1, 2]
