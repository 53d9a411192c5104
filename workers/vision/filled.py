"""`python -m workers.vision.filled MODEL` reads the shapes of tensors by name as JSON, and prints which share of that
timm network's numbers they fill. No weights are made.
"""

import json
import math
import sys

import torch

from workers.vision.model import build

_CLASSES = 1000  # of ImageNet
_SIZE = 224  # pixels


def main(model: str) -> None:
    """Standard input to standard output."""
    given = {name: tuple(shape) for name, shape in json.load(sys.stdin).items()}
    with torch.device("meta"):
        own = {name: tuple(tensor.shape) for name, tensor in build(model, _CLASSES, _SIZE).state_dict().items()}
    filled = sum(math.prod(shape) for name, shape in own.items() if given.get(name) == shape)
    sys.stdout.write(json.dumps(filled / max(1, sum(map(math.prod, own.values())))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
