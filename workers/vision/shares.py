"""`python -m workers.vision.shares` reads an ensemble as JSON (`Ensemble.plain`) and says, per member that starts from
another, which share of its network's numbers that one can fill: `{"M11": 0.141}`. No weights are made. A network that
cannot be built is said on standard error, with the exit code 2.
"""

import json
import sys
from functools import cache

import torch
from torch import Tensor

from shared.domain.ensemble import Head, Member, from_plain
from shared.domain.product_images import Joint
from workers.vision.checkpoint import agreeing
from workers.vision.heads import below_head
from workers.vision.model import build

_CLASSES = 5270  # of the catalog that the published shares are about; others change the output layer alone


def share(child: Member, parent: Member) -> float:
    """Of the child's parameters and buffers, those that the parent has by the same name in the same shape.

    A head that is not the parent's can only be new, and does not count.
    """
    own, given = map(_of, (child, parent))
    if child.head.kind != "own":
        given = below_head(given)
        if (child.head, child.joint) != (parent.head, parent.joint):
            own = {name: tensor for name, tensor in own.items() if not name.startswith("head.")}
    taken = sum(own[name].numel() for name in agreeing(own, given))
    return taken / max(1, sum(tensor.numel() for tensor in own.values()))


def _of(member: Member) -> dict[str, Tensor]:
    try:
        return _tensors(member.model, member.input.size, member.head, member.joint)
    except (RuntimeError, ValueError, AssertionError) as error:
        sys.stderr.write(f"member {member.name}: timm cannot build '{member.model}' with this head: {error}\n")
        raise SystemExit(2) from None


@cache
def _tensors(model: str, size: int, head: Head, joint: Joint) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build(model, _CLASSES, size, head, joint).state_dict()


def main() -> None:
    """Standard input to standard output."""
    members = from_plain(json.load(sys.stdin)).members
    found = {m.name: share(m, members[m.init.name]) for m in members.values() if m.init.kind == "member"}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
