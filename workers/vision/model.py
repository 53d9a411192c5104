"""Networks: built by name, and loaded from a complete run."""

from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
import yaml
from timm.models import get_pretrained_cfg
from torch import nn

from shared import layout
from shared.domain.ensemble import Head, Input, Member, member_from_plain
from shared.domain.errors import NewerSchemaError
from shared.domain.product_images import EACH_IMAGE, Joint
from shared.domain.records import SCHEMA
from shared.ports import Objects
from workers.vision.checkpoint import get_tensors
from workers.vision.heads import Headed

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class LoadedMember:
    """A trained network, in eval mode and channels-last, with its input (mean and deviation filled in)."""

    module: nn.Module
    input: Input
    classes: int
    taxonomy: str  # fingerprint of the class order
    name: str
    labels: tuple[int, ...] = ()  # class indexes that it has learnt; of a multilabel dataset
    joint: Joint = EACH_IMAGE


def build(
    model: str,
    classes: int,
    size: int = 224,
    head: Head = Head(),  # noqa: B008 - it is frozen
    joint: Joint = EACH_IMAGE,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """The timm network `model` with `classes` outputs, for inputs of `size` a side, and random weights.

    `pretrained`: with timm's own weights instead, except for the output layer; raises what its download raises.
    Raises ValueError where the network has no such head.
    """
    given = {"pretrained": pretrained, **_size_argument(model, size)}
    if head.kind == "own":
        module: nn.Module = timm.create_model(model, num_classes=classes, **given)
        return module
    return Headed(timm.create_model(model, num_classes=0, global_pool="", **given), head, classes, size, joint)


def normalisation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The network's own mean and deviation per channel, of values in 0..1."""
    config = get_pretrained_cfg(model)
    mean, std = (config.mean, config.std) if config else _IMAGENET
    return tuple(map(float, mean)), tuple(map(float, std))


def resolved(member: Member, precision: str) -> Member:
    """The member with what stays symbolic in a run's digest filled in: mean, deviation and precision."""
    return replace(member, input=filled_input(member), precision=precision)  # type: ignore[arg-type]


def filled_input(member: Member) -> Input:
    """The member's input with a mean and a deviation: the network's own where the member names none."""
    mean, std = normalisation(member.model)
    return replace(member.input, mean=member.input.mean or mean, std=member.input.std or std)


def load_member(
    objects: Objects, run_id: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> LoadedMember:
    """The network of a complete run on `device`. Raises NotFoundError where it is not there, and NewerSchemaError."""
    document = yaml.safe_load(objects.read(layout.run_file(run_id, "member.yaml")))
    if document["schema"] > SCHEMA:
        raise NewerSchemaError(f"run {run_id} has schema {document['schema']}: this Shelver reads up to {SCHEMA}")
    member = member_from_plain(document["member"])
    module = build(member.model, document["classes"], member.input.size, member.head, member.joint)
    module.load_state_dict(get_tensors(objects, layout.run_file(run_id, "weights.safetensors")))
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return LoadedMember(
        module,
        filled_input(member),
        document["classes"],
        document["taxonomy"],
        member.name,
        tuple(document.get("labels", ())),
        member.joint,
    )


def _size_argument(model: str, size: int) -> dict[str, Any]:
    """For networks whose weights depend on it."""
    config = get_pretrained_cfg(model)
    return {"img_size": size} if config is not None and config.fixed_input_size else {}
