import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from shared import layout, run_files
from shared.adapters.directory import DirectoryObjects
from shared.domain import views
from shared.domain.ensemble import Head, Input
from shared.domain.errors import BadInputError
from shared.domain.product_images import Joint
from shared.packs import Manifest, read_taxonomy
from tests.tiny_member import MEMBER
from workers.vision.checkpoint import put_tensors
from workers.vision.exporting import describe, export
from workers.vision.forward import logits
from workers.vision.joint import Running, joint_logits
from workers.vision.model import build, load_member

Float32 = npt.NDArray[np.float32]

RUN = "0123456789abcdef"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.7)
GIVEN = Input(size=32, fit="pad", interpolation="bicubic", pad_colour=(1, 2, 3), mean=MEAN, std=STD)
FRESH_LOOK = """
import sys, numpy, torch
extra = {"shelver.json": ""}
network = torch.export.load(sys.argv[1], extra_files=extra).module()
pictures = [torch.from_numpy(one) for one in numpy.load(sys.argv[2]).values()]
numpy.savez(sys.argv[3], *(network(one).detach().numpy() for one in pictures))
print(extra["shelver.json"])
"""


@pytest.fixture
def objects(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> DirectoryObjects:
    """With what an export reads of a complete run on the dataset `tiny`."""
    objects = DirectoryObjects(tmp_path / "objects")
    manifest = make_dataset(objects)
    torch.manual_seed(3)
    put_tensors(objects, layout.run_file(RUN, "weights.safetensors"), build("test_resnet", 3).state_dict())
    run_files.put_member(objects, RUN, replace(MEMBER, input=GIVEN), classes=3, taxonomy=manifest.taxonomy)
    return objects


@pytest.fixture
def pictures() -> list[Float32]:
    """One, and three, with fractions of values, as resizing makes them."""
    noise = np.random.default_rng(1)
    return [noise.uniform(0, 255, (n, 3, 32, 32)).astype(np.float32) for n in (1, 3)]


def assert_ours(objects: DirectoryObjects, pictures: list[Float32], answers: list[Float32]) -> None:
    """The answers are those of our own forward pass, to which normalising matters."""
    member = load_member(objects, RUN, torch.device("cpu"))
    for batch, answer in zip(map(torch.from_numpy, pictures), answers, strict=True):
        expected = logits(member.module, batch, views.parse("plain"), member.input, "float32").numpy()
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)
        with torch.inference_mode():
            assert np.abs(member.module(batch).numpy() - expected).max() > 1e-2


def assert_whole(description: dict[str, Any]) -> None:
    """Whatever decides how pictures are resized, and which category each answer is of, stands there."""
    of_input, inside = description["input"], description["normalised_inside"]
    shape = [of_input.pop("shape"), description["output"].pop("shape")]
    assert shape == [["n", 3, 32, 32], ["n", 3]]
    assert of_input.items() >= {"name": "pictures", "dtype": "float32", "colours": "RGB", "range": [0, 255]}.items()
    assert json.loads(json.dumps(asdict(GIVEN))).items() <= (of_input | inside | {"size": 32}).items()
    assert description["output"] == {"name": "logits", "dtype": "float32"}
    assert description["category_ids"] == [1000, 1001, 1002]
    assert description["probabilities"] == "softmax"
    assert "learnt_category_ids" not in description
    assert (description["run"], description["member"]) == (RUN, "tiny")
    assert description["shelver"] == metadata.version("shelver")


def test_onnx_answers_as_we_do(objects: DirectoryObjects, pictures: list[Float32]) -> None:
    network = onnxruntime.InferenceSession(export(objects, RUN, "tiny", "onnx"))
    assert [(one.name, one.shape) for one in network.get_inputs()] == [("pictures", ["n", 3, 32, 32])]
    assert [(one.name, one.shape) for one in network.get_outputs()] == [("logits", ["n", 3])]
    assert_ours(objects, pictures, [network.run(["logits"], {"pictures": batch})[0] for batch in pictures])
    assert_whole(json.loads(network.get_modelmeta().custom_metadata_map["shelver.json"]))


def test_torch_export_answers_as_we_do_where_shelver_is_not(
    objects: DirectoryObjects, pictures: list[Float32], tmp_path: Path
) -> None:
    file, given, found = tmp_path / "tiny.pt2", tmp_path / "pictures.npz", tmp_path / "logits.npz"
    file.write_bytes(export(objects, RUN, "tiny", "pt2"))
    np.savez(given, *pictures)
    look = [sys.executable, "-I", "-W", "error", "-c", FRESH_LOOK, str(file), str(given), str(found)]
    said = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    with np.load(found) as answers:
        assert_ours(objects, pictures, list(answers.values()))
    assert_whole(json.loads(said))


@pytest.mark.parametrize(
    ("joint", "head", "edge"),
    [
        (Joint(kind="tiled"), Head(), 16),
        (Joint(kind="fused", most=3), Head(kind="average", hidden=5), 32),
        (Joint(kind="fused", by="maximum", most=2), Head(kind="max"), 32),
    ],
    ids=["tiled", "gated", "maximum"],
)
def test_a_joint_member_answers_for_products_as_we_do(
    objects: DirectoryObjects, joint: Joint, head: Head, edge: int
) -> None:
    torch.manual_seed(4)
    weights = build("test_resnet", 3, 32, head, joint).state_dict()
    put_tensors(objects, layout.run_file(RUN, "weights.safetensors"), weights)
    taxonomy = read_taxonomy(objects, "tiny").fingerprint
    member = replace(MEMBER, input=GIVEN, head=head, joint=joint)
    run_files.put_member(objects, RUN, member, classes=3, taxonomy=taxonomy)
    noise = np.random.default_rng(2)
    images = np.array([1, joint.most, 2], np.int64)
    given = noise.integers(0, 256, (3, joint.most, 3, edge, edge)).astype(np.float32)
    loaded = load_member(objects, RUN, torch.device("cpu"))
    running = Running(loaded.module, joint, loaded.input, torch.device("cpu"), "float32")
    known = [torch.from_numpy(of[:count]).byte().permute(0, 2, 3, 1) for of, count in zip(given, images, strict=True)]
    product = np.repeat(np.arange(3), images)
    (expected,) = joint_logits(running, [one for of in known for one in of], product, [views.parse("plain")])

    onnx = onnxruntime.InferenceSession(export(objects, RUN, "tiny", "onnx"))
    assert [(one.name, one.shape) for one in onnx.get_inputs()] == [
        ("pictures", ["n", joint.most, 3, edge, edge]),
        ("images", ["n"]),
    ]
    described = json.loads(onnx.get_modelmeta().custom_metadata_map["shelver.json"])
    assert described["input"]["shape"] == ["n", joint.most, 3, edge, edge]
    assert described["images"] == {"name": "images", "shape": ["n"], "dtype": "int64", "range": [1, joint.most]}
    pt2 = torch.export.load(io.BytesIO(export(objects, RUN, "tiny", "pt2"))).module()
    for rows in (slice(0, 3), slice(1, 2)):
        by_onnx = onnx.run(["logits"], {"pictures": given[rows], "images": images[rows]})[0]
        by_torch = pt2(torch.from_numpy(given[rows]), torch.from_numpy(images[rows])).detach().numpy()
        for answers in (by_onnx, by_torch):
            np.testing.assert_allclose(answers, expected[rows].numpy(), rtol=0, atol=1e-4)


def test_a_multilabel_member_says_what_it_has_learnt(objects: DirectoryObjects) -> None:
    member, table = load_member(objects, RUN, torch.device("cpu")), read_taxonomy(objects, "tiny")
    some = describe(RUN, replace(member, labels=(0, 2)), table, multilabel=True)
    every = describe(RUN, member, table, multilabel=True)
    assert (some["probabilities"], some["learnt_category_ids"]) == ("sigmoid", [1000, 1002])
    assert (some["category_ids"], every["learnt_category_ids"]) == ([1000, 1001, 1002], [1000, 1001, 1002])


def test_categories_of_another_table_are_refused(objects: DirectoryObjects) -> None:
    key = layout.categories("tiny")
    objects.put(key, objects.read(key).replace(b"1001", b"2001"))
    with pytest.raises(BadInputError, match=f"run {RUN}: the category table of dataset 'tiny' is another one"):
        export(objects, RUN, "tiny", "pt2")
