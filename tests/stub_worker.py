"""`python -m tests.stub_worker ID`: the scoring worker's process around an engine that needs no network.

STUB_SECONDS: how long a product takes. The ensemble `unloadable` never loads.
"""

import os
import sys
import time
from collections.abc import Callable

from shared.domain.errors import FailedError
from shared.domain.records import Job
from shared.ports import Stores
from shared.settings import Settings
from tests.scoring_stub import StubEngine, kill_process
from workers.scoring.__main__ import main
from workers.scoring.engines import EngineFactory

UNLOADABLE = "unloadable"


def engines(_stores: Stores, _settings: Settings) -> EngineFactory:
    def load(job: Job, _on_halved: Callable[[int], None]) -> StubEngine:
        if job.ensemble == UNLOADABLE:
            raise FailedError("the weights are not there")
        seconds = float(os.environ.get("STUB_SECONDS", "0"))
        return StubEngine(on_poison=kill_process, on_product=lambda _: time.sleep(seconds))

    return load


if __name__ == "__main__":
    sys.exit(main(engines))
