import numpy as np
import pytest

from shared import packs
from shared.domain.errors import NewerSchemaError
from shared.packs import PackIndex, index_from_parquet, index_to_parquet

NONE = np.zeros(0, dtype=np.int64)
EMPTY = PackIndex(NONE, NONE, NONE, NONE, np.zeros(1, np.int64), NONE, NONE, np.zeros((0, 2), dtype=np.uint64))


def test_the_index_of_a_pack_without_products_comes_back() -> None:
    index = index_from_parquet(index_to_parquet(EMPTY))
    assert (len(index), index.images) == (0, 0)
    assert index.first_image.tolist() == [0]
    assert index.image_md5.shape == (0, 2)


def test_an_index_of_a_newer_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = index_to_parquet(EMPTY)
    monkeypatch.setattr(packs, "SCHEMA", 0)
    with pytest.raises(NewerSchemaError, match="pack index of schema 1: this Shelver reads up to 0"):
        index_from_parquet(content)
