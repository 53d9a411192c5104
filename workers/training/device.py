"""Where a network computes, and in what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device and a resolved precision: float32 or bf16."""

    device: torch.device
    precision: str

    def forward(self, module: nn.Module, batch: Tensor, product: Int64 | None = None) -> Tensor:
        """Logits float32 [n, classes] of normalised pictures, or of the products that `product` says they are of."""
        given = (batch,) if product is None else (batch, torch.from_numpy(product).to(batch.device))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = module(*given)
        return logits.float()
