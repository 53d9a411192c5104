import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from shared.domain.errors import BadInputError
from shared.dumps import FileDump
from shared.weights import read_shapes

TENSORS = {"stem.weight": torch.zeros(4, 3, 3, 3), "scale": torch.ones(()), "head.weight": torch.zeros(7, 4).half()}
WHOLE = save(TENSORS, metadata={"format": "pt"})


def shapes_of(folder: Path, content: bytes) -> dict[str, tuple[int, ...]]:
    file = folder / "weights.safetensors"
    file.write_bytes(content)
    return dict(read_shapes("weights of a", FileDump(file)))


def test_shapes_are_those_of_the_tensors(tmp_path: Path) -> None:
    assert shapes_of(tmp_path, WHOLE) == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}


@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_file_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    with pytest.raises(BadInputError, match="weights of a: it is no safetensors file, or a cut one"):
        shapes_of(tmp_path_factory.mktemp("cut"), WHOLE[:length] or b"\0")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"no json",
        b'{"a": 3}',
        json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "Q3", "shape": [1], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [1]}}).encode(),
    ],
)
def test_a_strange_header_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(BadInputError, match="no safetensors file"):
        shapes_of(tmp_path, struct.pack("<Q", len(header)) + header + bytes(4))
