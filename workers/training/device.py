"""Where a network computes, and in what."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device and a resolved precision: float32 or bf16."""

    device: torch.device
    precision: str

    def forward(self, module: nn.Module, batch: Tensor) -> Tensor:
        """Logits float32 [n, classes] of normalised pictures."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = module(batch)
        return logits.float()
