"""`python -m benchmarks.stub_service`: the scoring worker as a service, whose ensembles are networks of benchmarks.

The ensemble `stub` is as good as no network, `sleeping` takes as long as a GPU might, any other name is timm's.
"""

import sys
from collections.abc import Callable

from shared.domain.records import Job
from shared.ports import Stores
from shared.settings import Settings
from workers.scoring.engines import Engine, EngineFactory
from workers.scoring.service import main

STUB, SLEEPING = "stub", "sleeping"
BATCH_SECONDS = 0.1
STUB_SIZE = 32  # pixels of what stubs see: decoding would hide what is measured with them
SIZE = 96  # pixels: a chunk through a network of timm takes a quarter of the time that the catalog's 180 do


def engine(name: str) -> Engine:
    """The engine of an ensemble; torch is loaded now, in the process that computes."""
    from benchmarks import networks

    if name in (STUB, SLEEPING):
        network = networks.stub(BATCH_SECONDS if name == SLEEPING else 0.0, STUB_SIZE)
        return networks.engine(network, ["plain"], networks.STUB_CLASSES)
    return networks.engine(networks.of_timm(name, SIZE), ["plain"], networks.CLASSES)


def engines(_stores: Stores, _settings: Settings) -> EngineFactory:
    def load(job: Job, _on_halved: Callable[[int], None]) -> Engine:
        return engine(job.ensemble)

    return load


if __name__ == "__main__":
    sys.exit(main(engines))
