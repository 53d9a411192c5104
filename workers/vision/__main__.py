"""`python -m workers.vision` says what `auto` means on this machine, as one JSON document."""

import json
import platform
import sys

import torch

from workers.vision.devices import cores, resolve_device, resolve_precision

device = resolve_device("auto")
name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()}, {cores()} cores)"
found = {"name": name, "kind": device.type, "precision": resolve_precision("auto", device), "cuda": torch.version.cuda}
assert torch.ones(8, device=device).sum().item() == 8  # a GPU that torch sees may still run nothing
sys.stdout.write(json.dumps(found) + "\n")
