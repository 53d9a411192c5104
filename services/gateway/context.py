"""What every route needs, made once per process and handed in."""

import time
from dataclasses import dataclass, field

from shared.dumps import Buckets
from shared.ports import Clock, Queue, Stores
from shared.settings import Settings
from shared.telemetry import GatewayMetrics


@dataclass(frozen=True, slots=True)
class Context:
    """Stores, the transport to workers, and settings; `now` in seconds since the epoch, `clock` for durations."""

    stores: Stores
    queue: Queue
    buckets: Buckets
    settings: Settings
    metrics: GatewayMetrics
    clock: Clock = field(default=time.monotonic)
    now: Clock = field(default=time.time)
