"""`python -m workers.vision.exporting RUN DATASET onnx|pt2` writes a complete run's network, as other programs run it,
to standard output.

Normalising is inside, and of a joint member what makes one answer of a product's images; what comes before it is
described in the file, under the name DESCRIPTION: of an ONNX file a metadata property, of torch.export's an extra file.
"""

import contextlib
import io
import json
import sys
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from shared import settings, wiring
from shared.domain.errors import BadInputError, ShelverError
from shared.domain.product_images import EACH_IMAGE, Joint
from shared.domain.taxonomy import Taxonomy
from shared.packs import read_manifest, read_taxonomy
from shared.ports import Objects
from workers.vision.heads import Fusing, Headed
from workers.vision.joint import picture_input
from workers.vision.model import LoadedMember, load_member

DESCRIPTION = "shelver.json"
INPUT, COUNTS, OUTPUT = "pictures", "images", "logits"


class Exported(nn.Module):
    """A member's network behind its normalising, which rounds as `preprocessing.normalise` does."""

    shift: Tensor
    scale: Tensor

    def __init__(self, member: LoadedMember) -> None:
        super().__init__()
        self.network = member.module
        for name, values in (("shift", member.input.mean), ("scale", member.input.std)):
            self.register_buffer(name, torch.tensor([255.0 * value for value in values]).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Resized pictures, float32 [n, 3, size, size], RGB in 0..255 -> logits, float32 [n, classes]."""
        answers: Tensor = self.network(self._normalised(pictures))
        return answers

    def _normalised(self, pictures: Tensor) -> Tensor:
        return (pictures - self.shift) / self.scale


class ExportedTiles(Exported):
    """A member whose input is a grid of a product's images."""

    colour: Tensor

    def __init__(self, member: LoadedMember) -> None:
        super().__init__(member)
        self.joint = member.joint
        self.register_buffer("colour", torch.tensor(member.input.pad_colour, dtype=torch.float32).view(3, 1, 1))

    def forward(self, pictures: Tensor, images: Tensor) -> Tensor:  # type: ignore[override]  # of products
        """Resized pictures, float32 [n, most, 3, edge, edge], RGB in 0..255, the first `images` int64[n] of which are
        there -> logits, float32 [n, classes]."""
        there = _there(images, self.joint)[:, :, None, None, None]
        tiles = torch.where(there, pictures, self.colour)
        lines = tiles.reshape(-1, self.joint.side, self.joint.side, *tiles.shape[2:])
        grids = lines.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return super().forward(grids)


class ExportedFusion(Exported):
    """A member that fuses what it says of each image."""

    def __init__(self, member: LoadedMember) -> None:
        super().__init__(member)
        self.joint = member.joint

    def forward(self, pictures: Tensor, images: Tensor) -> Tensor:  # type: ignore[override]  # of products
        """As `ExportedTiles`, each picture of the whole size."""
        network = self.network
        assert isinstance(network, Headed)
        assert isinstance(network.head, Fusing)
        gated = network.head.gate is not None
        said = network.head.embed(network.backbone(self._normalised(pictures.flatten(0, 1))))
        of_products = said.reshape(-1, self.joint.most, said.shape[1])
        held = torch.where(_there(images, self.joint)[:, :, None], of_products, 0.0 if gated else -torch.inf)
        answers: Tensor = network.head.answer(held.sum(1) if gated else held.amax(1))
        return answers


_EXPORTED = {"none": Exported, "tiled": ExportedTiles, "fused": ExportedFusion}


def _there(images: Tensor, joint: Joint) -> Tensor:
    """Which places have an image: int64[n] -> bool[n, most]."""
    return torch.arange(joint.most, device=images.device) < images[:, None]


def describe(run: str, member: LoadedMember, taxonomy: Taxonomy, *, multilabel: bool = False) -> dict[str, Any]:
    """What another program needs to feed the network and to read its answers, as JSON values."""
    given, ids = picture_input(member.input, member.joint), taxonomy.category_ids.tolist()
    learnt = [ids[index] for index in member.labels] or ids
    return {
        "shelver": metadata.version("shelver"),
        "run": run,
        "member": member.name,
        "input": {
            "name": INPUT,
            "shape": ["n", *_of_product(member), 3, given.size, given.size],
            "dtype": "float32",
            "colours": "RGB",
            "range": [0, 255],
            "fit": given.fit,
            "interpolation": given.interpolation,
            "antialias": given.antialias,
            "pad_colour": list(given.pad_colour),
        },
        **({COUNTS: _describe_counts(member)} if member.joint != EACH_IMAGE else {}),
        "normalised_inside": {"mean": list(given.mean), "std": list(given.std)},
        "output": {"name": OUTPUT, "shape": ["n", member.classes], "dtype": "float32"},
        "probabilities": "sigmoid" if multilabel else "softmax",
        "category_ids": ids,
        **({"learnt_category_ids": learnt} if multilabel else {}),  # answers for others mean nothing
    }


def _of_product(member: LoadedMember) -> list[int]:
    """The axis of a product's images, where there is one."""
    return [] if member.joint == EACH_IMAGE else [member.joint.most]


def _describe_counts(member: LoadedMember) -> dict[str, Any]:
    """Pictures of a product beyond its number of images are not looked at, whatever they hold."""
    return {"name": COUNTS, "shape": ["n"], "dtype": "int64", "range": [1, member.joint.most]}


def render(member: LoadedMember, description: dict[str, Any], form: str) -> bytes:
    """The file, `form` being onnx or pt2, for any number of pictures, or products, at a time. Raises what torch's
    exporters raise."""
    size = picture_input(member.input, member.joint).size
    network = _EXPORTED[member.joint.kind](member).to(memory_format=torch.contiguous_format).eval()
    # of one picture, torch would take the number for a constant
    examples = {INPUT: torch.zeros(2, *_of_product(member), 3, size, size)}
    if member.joint != EACH_IMAGE:
        examples[COUNTS] = torch.ones(2, dtype=torch.int64)
    n = torch.export.Dim("n")
    with torch.no_grad():
        program = torch.export.export(
            network, tuple(examples.values()), dynamic_shapes={key: {0: n} for key in examples}
        )
    text = json.dumps(description)
    if form == "pt2":
        stream = io.BytesIO()
        torch.export.save(program, stream, extra_files={DESCRIPTION: text})
        return stream.getvalue()
    names: dict[str, dict[int, str]] = {INPUT: {0: "n"}, **{name: {} for name in examples if name != INPUT}}  # the same
    made = torch.onnx.export(
        program, input_names=list(examples), output_names=[OUTPUT], dynamic_shapes=names, verbose=False
    )
    assert made is not None  # it is where no file is named
    made.model.metadata_props[DESCRIPTION] = text
    content: bytes = made.model_proto.SerializeToString()
    return content


def export(objects: Objects, run: str, dataset: str, form: str) -> bytes:
    """A complete run on `dataset` as a file. Raises NotFoundError, and BadInputError for other categories."""
    member = load_member(objects, run, torch.device("cpu"))
    taxonomy = read_taxonomy(objects, dataset)
    if member.taxonomy != taxonomy.fingerprint:
        reason = f"the category table of dataset '{dataset}' is another one than when it was trained"
        raise BadInputError(f"run {run}", reason, remedy="train again")
    multilabel = read_manifest(objects, dataset).label_sets > 0
    return render(member, describe(run, member, taxonomy, multilabel=multilabel), form)


def main(run: str, dataset: str, form: str) -> None:
    """To standard output, and nothing else: what torch's exporters print goes where errors go."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            content = export(wiring.objects(settings.from_environment()), run, dataset, form)
    except ShelverError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
