"""Initial weights: random by the member's seed, timm's own, an object's, or the parent run's."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared import layout
from shared.domain.ensemble import Member
from shared.domain.errors import BadInputError, NotFoundError
from shared.ports import Objects
from workers.vision import model
from workers.vision.checkpoint import get_tensors, transfer
from workers.vision.heads import Headed, below_head, freeze, widen

LOW_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Start:
    """Where the weights came from, and the share of the network's numbers that was taken over."""

    source: str
    share: float

    def __str__(self) -> str:
        warning = " (a low share: most of the network starts at random)" if 0 < self.share < LOW_SHARE else ""
        return f"weights: {self.source}, {self.share:.1%} of the network taken over{warning}"


def network(objects: Objects, member: Member, parent: str, classes: int, beside: int = 0) -> tuple[nn.Module, Start]:
    """The member's network on the CPU with its initial weights. What is not taken over is random by the seed, and so
    is what leads to the `beside` outputs behind those of the classes.

    Raises BadInputError where the weights are not there or nothing of them fits, and where the network does not run
    at the member's input size.
    """
    torch.manual_seed(member.seed)
    if member.init.kind == "imagenet" and not objects.exists(layout.pretrained(member.model)):
        module, start = _pretrained(member, classes), Start("imagenet (timm)", 1.0)
    else:
        module = _built(member, classes)
        start = _take(objects, module, member, parent)
    _check_size(module, member)
    try:
        widen(module, beside)
    except ValueError as error:
        reason = f"'{member.model}': {error}"
        raise BadInputError(
            f"member {member.name}", reason, remedy="use another network, or leave levels out"
        ) from None
    try:
        freeze(module, member.trains)
    except ValueError as error:
        reason = f"'{member.model}': {error}"
        raise BadInputError(f"member {member.name}", reason, remedy="name modules as timm does, or head") from None
    return module, start


def _built(member: Member, classes: int) -> nn.Module:
    try:
        return model.build(member.model, classes, member.input.size, member.head, member.joint)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise BadInputError(
            f"member {member.name}", f"timm cannot build '{member.model}': {error}", remedy="use another network"
        ) from error


def _take(objects: Objects, module: nn.Module, member: Member, parent: str) -> Start:
    kind = member.init.kind
    if kind == "none":
        return Start("random", 0.0)
    key = {
        "imagenet": layout.pretrained(member.model),
        "file": member.init.name,
        "member": layout.run_file(parent, "weights.safetensors"),
    }[kind]
    tensors = _stored(objects, key, member.name)
    taken = transfer(module, below_head(tensors) if isinstance(module, Headed) else tensors)
    if not taken.tensors:
        reason = f"no tensor of {key} fits '{member.model}' by name and shape"
        raise BadInputError(f"member {member.name}", reason, remedy="start from weights of the same kind of network")
    return Start(f"member run {parent}" if kind == "member" else key, taken.share)


def _stored(objects: Objects, key: str, member: str) -> Mapping[str, Tensor]:
    try:
        return get_tensors(objects, key)
    except NotFoundError:
        raise BadInputError(
            f"member {member}", f"there are no weights at {key}", remedy="put a safetensors file there, or change init"
        ) from None


def _pretrained(member: Member, classes: int) -> nn.Module:
    try:
        return model.build(member.model, classes, member.input.size, member.head, member.joint, pretrained=True)
    except Exception as error:  # timm's download raises whatever its client libraries do
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"member {member.name}",
            f"the ImageNet weights of '{member.model}' cannot be downloaded: {first_line}",
            remedy=f"download them elsewhere, then: shelver pretrained add {member.model} FILE",
        ) from error


@torch.no_grad()
def _check_size(module: nn.Module, member: Member) -> None:
    size = member.input.size
    try:
        module.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"member {member.name}",
            f"'{member.model}' does not run at {size} px: {first_line}",
            remedy="choose another input size or network",
        ) from error
