"""`python -m workers.vision.exporting RUN DATASET onnx|pt2` writes a complete run's network, as other programs run it,
to standard output.

Normalising is inside; what comes before it is described in the file, under the name DESCRIPTION: of an ONNX file a
metadata property, of torch.export's an extra file.
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
from shared.domain.product_images import EACH_IMAGE
from shared.domain.taxonomy import Taxonomy
from shared.packs import read_manifest, read_taxonomy
from shared.ports import Objects
from workers.vision.model import LoadedMember, load_member

DESCRIPTION = "shelver.json"
INPUT, OUTPUT = "pictures", "logits"


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
        answers: Tensor = self.network((pictures - self.shift) / self.scale)
        return answers


def describe(run: str, member: LoadedMember, taxonomy: Taxonomy, *, multilabel: bool = False) -> dict[str, Any]:
    """What another program needs to feed the network and to read its answers, as JSON values."""
    given, ids = member.input, taxonomy.category_ids.tolist()
    learnt = [ids[index] for index in member.labels] or ids
    return {
        "shelver": metadata.version("shelver"),
        "run": run,
        "member": member.name,
        "input": {
            "name": INPUT,
            "shape": ["n", 3, given.size, given.size],
            "dtype": "float32",
            "colours": "RGB",
            "range": [0, 255],
            "fit": given.fit,
            "interpolation": given.interpolation,
            "antialias": given.antialias,
            "pad_colour": list(given.pad_colour),
        },
        "normalised_inside": {"mean": list(given.mean), "std": list(given.std)},
        "output": {"name": OUTPUT, "shape": ["n", member.classes], "dtype": "float32"},
        "probabilities": "sigmoid" if multilabel else "softmax",
        "category_ids": ids,
        **({"learnt_category_ids": learnt} if multilabel else {}),  # answers for others mean nothing
    }


def render(member: LoadedMember, description: dict[str, Any], form: str) -> bytes:
    """The file, `form` being onnx or pt2, for any number of pictures at a time. Raises what torch's exporters raise."""
    size = member.input.size
    network = Exported(member).to(memory_format=torch.contiguous_format).eval()
    example = torch.zeros(2, 3, size, size)  # of one picture, torch would take the number for a constant
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("n")}})
    text = json.dumps(description)
    if form == "pt2":
        stream = io.BytesIO()
        torch.export.save(program, stream, extra_files={DESCRIPTION: text})
        return stream.getvalue()
    names = {INPUT: {0: "n"}}
    made = torch.onnx.export(program, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=names, verbose=False)
    assert made is not None  # it is where no file is named
    made.model.metadata_props[DESCRIPTION] = text
    content: bytes = made.model_proto.SerializeToString()
    return content


def export(objects: Objects, run: str, dataset: str, form: str) -> bytes:
    """A complete run on `dataset` as a file. Raises NotFoundError, and BadInputError for other categories and for
    joint members.
    """
    member = load_member(objects, run, torch.device("cpu"))
    taxonomy = read_taxonomy(objects, dataset)
    if member.taxonomy != taxonomy.fingerprint:
        reason = f"the category table of dataset '{dataset}' is another one than when it was trained"
        raise BadInputError(f"run {run}", reason, remedy="train again")
    if member.joint != EACH_IMAGE:
        reason = f"'{member.name}' answers for all images of a product, and what is exported takes one picture"
        raise BadInputError(f"run {run}", reason, remedy="export a member without joint")
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
