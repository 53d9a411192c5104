"""torch's optimizers as members name them, and their state as tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, NAdam, Optimizer

from shared.domain.ensemble import Member


def optimizer_of(member: Member, module: nn.Module) -> Optimizer:
    """The member's optimizer; its rate is set at every step. `sgd` has Nesterov's momentum, as far as it has any."""
    parameters, decay = module.parameters(), member.weight_decay
    match member.optimizer:
        case "adamw":
            return AdamW(parameters, lr=0.0, weight_decay=decay)
        case "sgd":
            momentum = member.momentum
            return SGD(parameters, lr=0.0, weight_decay=decay, momentum=momentum, nesterov=momentum > 0.0)
        case "nadam":
            return NAdam(parameters, lr=0.0, weight_decay=decay)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Make `rate` the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def tensors_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state: `<place of the parameter>.<key>` -> tensor."""
    return {
        f"{i}.{key}": tensor
        for i, parameter in enumerate(_parameters(optimizer))
        for key, tensor in optimizer.state[parameter].items()
    }


@torch.no_grad()
def load_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the state of `tensors_of` back, on the device of the parameters."""
    parameters = _parameters(optimizer)
    for name, tensor in tensors.items():
        place, key = name.split(".", 1)
        parameter = parameters[int(place)]
        if tensor.shape == parameter.shape:
            # The memory layout of the parameter: another one could sum up in another order.
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)
        else:
            optimizer.state[parameter][key] = tensor.clone()


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
