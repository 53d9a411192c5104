"""Heads: what stands between a network's last feature map and its answers, where a member asks for another than timm's.

The shapes are those of a published transfer-learning system (System 2: a batch norm, a 1 x 1 convolution, a flattened
map and a dense layer) and of the usual poolings.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared.domain.ensemble import Head
from shared.domain.product_images import EACH_IMAGE, Joint


class Headed(nn.Module):
    """A network without its own output layer, and a head. Tensors are named `backbone.*`, as timm's, and `head.*`."""

    head: "nn.Sequential | Fusing"

    def __init__(self, backbone: nn.Module, head: Head, classes: int, size: int, joint: Joint = EACH_IMAGE) -> None:
        """`size` is the side of the input. Raises ValueError for a network that ends in no feature map."""
        super().__init__()
        self.backbone = backbone
        channels, height, width = _feature_map(backbone, size)
        if joint.kind == "fused":
            self.head = Fusing(head, channels, classes, gated=joint.by == "gated")
        else:
            self.head = nn.Sequential(*_before(head, channels), *_after(head, channels, height * width, classes))

    def forward(self, inputs: Tensor, product: Tensor | None = None) -> Tensor:
        """[n, 3, size, size] -> logits [n, classes]; where images are fused [products, classes], see `Fusing`."""
        maps = self.backbone(inputs)
        answers: Tensor = self.head(maps) if product is None else self.head(maps, product)
        return answers


class Fusing(nn.Module):
    """A head that answers for a product: what is said of each image, pooled, fused over its images, then dense layers.

    `gated`: a sum through gates that a dense layer opens per channel of each image; else the maximum.
    """

    def __init__(self, head: Head, channels: int, classes: int, *, gated: bool) -> None:
        super().__init__()
        self.channels = channels
        self.pool = nn.Sequential(*_before(head, channels), nn.Flatten())
        self.gate = nn.Linear(channels, channels) if gated else None
        self.answer = nn.Sequential(*_after(head, channels, 1, classes))

    def forward(self, maps: Tensor, product: Tensor | None = None) -> Tensor:
        """Maps [n, channels, h, w] of images -> logits [products, classes]. `product` int64[n] says from 0 on which
        product each image is of, those of one together; None: each is a product of its own.
        """
        said = self.embed(maps)
        answers: Tensor = self.answer(said if product is None else self._fused(said, product))
        return answers

    def embed(self, maps: Tensor) -> Tensor:
        """What is summed, or of which the largest is taken, of each image: [n, channels]."""
        said: Tensor = self.pool(maps)
        return said if self.gate is None else said * self.gate(said).sigmoid()

    def _fused(self, said: Tensor, product: Tensor) -> Tensor:
        """[n, channels] -> [products, channels], through a block with a place for every image that a product may have:
        what is missing is 0, or less than everything."""
        images = torch.bincount(product)
        place = torch.arange(len(product), device=product.device) - (images.cumsum(0) - images)[product]
        shape = (len(images), int(images.max()), said.shape[1])
        block = said.new_full(shape, 0.0 if self.gate is not None else -torch.inf)
        block[product, place] = said
        return block.sum(1) if self.gate is not None else block.amax(1)


def _feature_map(backbone: nn.Module, size: int) -> tuple[int, int, int]:
    with torch.no_grad():
        device = next(backbone.parameters()).device
        was_training = backbone.training
        found = backbone.eval()(torch.zeros(1, 3, size, size, device=device)).shape
        backbone.train(was_training)
    if len(found) != 4:
        raise ValueError(f"it ends in a tensor of shape {tuple(found)}, not in a feature map")
    return found[1], found[2], found[3]


def _before(head: Head, channels: int) -> list[nn.Module]:
    """What stands on a map of so many channels."""
    layers: list[nn.Module] = [nn.BatchNorm2d(channels)] if head.batch_norm else []
    if head.kind == "conv1x1":
        layers += [nn.Conv2d(channels, head.channels, 1), nn.BatchNorm2d(head.channels)]
    elif head.kind in ("average", "max"):
        layers.append(nn.AdaptiveAvgPool2d(1) if head.kind == "average" else nn.AdaptiveMaxPool2d(1))
    return layers


def _after(head: Head, channels: int, places: int, classes: int) -> list[nn.Module]:
    """What answers: of a map of so many channels and places before `_before`."""
    if head.kind not in ("average", "max"):
        channels = (head.channels or channels) * places
    layers: list[nn.Module] = [nn.Dropout(head.dropout)] if head.dropout else []
    layers.append(nn.Flatten())
    if head.hidden:
        layers += [nn.Linear(channels, head.hidden), nn.ReLU()]
        channels = head.hidden
    return [*layers, nn.Linear(channels, classes)]


def below_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network, also under the names that they have in a `Headed`."""
    return {f"backbone.{name}": tensor for name, tensor in tensors.items()} | dict(tensors)


def freeze(module: nn.Module, trains: tuple[str, ...]) -> None:
    """Let only some of a network's parameters learn: those of its output (`head`) and those below the modules named.

    Empty: all of them. Raises ValueError for a name that is no module.
    """
    if not trains:
        return
    known = dict(module.named_modules())
    names = [_head_name(module) if name == "head" else _inside(module, name) for name in trains]
    for name in names:
        if name not in known:
            raise ValueError(f"it has no module '{name}'")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{chosen}.") for chosen in names))


def widen(module: nn.Module, outputs: int) -> None:
    """Give a network so many more outputs behind its own ones, with random weights.

    Raises ValueError for a network whose answers do not come out of one dense layer or 1 x 1 convolution.
    """
    if outputs:
        name, layer = _output(module)
        wider = _like(layer, len(layer.weight) + outputs)
        _copy(layer, wider, len(layer.weight))
        module.set_submodule(name, wider)


def narrow(module: nn.Module, outputs: int) -> None:
    """Leave a network its first outputs: after `widen` the network that it was, with what it has learnt since."""
    name, layer = _output(module)
    narrower = _like(layer, outputs)
    _copy(layer, narrower, outputs)
    module.set_submodule(name, narrower)


def _output(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    if isinstance(module, Headed):
        layer = (module.head.answer if isinstance(module.head, Fusing) else module.head)[-1]
    else:
        layer = module.get_classifier()  # type: ignore[operator]  # as above
    name = next((name for name, one in module.named_modules() if one is layer), "")
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        return name, layer
    raise ValueError("its output is no dense layer, to which those of other levels could be added")


def _like(layer: nn.Linear | nn.Conv2d, outputs: int) -> nn.Linear | nn.Conv2d:
    given, bias, where = layer.weight.shape[1], layer.bias is not None, layer.weight.device
    if isinstance(layer, nn.Linear):
        return nn.Linear(given, outputs, bias, device=where)
    return nn.Conv2d(given, outputs, 1, bias=bias, device=where)


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module, outputs: int) -> None:
    for name, parameter in source.named_parameters():
        target.get_parameter(name)[:outputs] = parameter[:outputs]


def train_mode(module: nn.Module) -> None:
    """Training mode, but for what is frozen: its batch norm keeps its statistics, its dropout lets everything pass."""
    module.train()
    for part in module.modules():
        inside = list(part.parameters())
        if inside and not any(parameter.requires_grad for parameter in inside):
            part.eval()


def _head_name(module: nn.Module) -> str:
    if isinstance(module, Headed):
        return "head"
    classifier = module.get_classifier()  # type: ignore[operator]  # every timm network has it
    return next((name for name, one in module.named_modules() if one is classifier), "head")


def _inside(module: nn.Module, name: str) -> str:
    """Modules are named as timm names them, with another head too."""
    return f"backbone.{name}" if isinstance(module, Headed) else name
