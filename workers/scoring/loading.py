"""From a job or a question to an engine on this device; torch is imported on first use, so a worker starts at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.domain.errors import NewerSchemaError
from shared.domain.records import EnsembleVersion, Job, JobOptions
from shared.ports import Stores
from shared.settings import Settings
from workers.scoring.engines import CannotRunError

if TYPE_CHECKING:
    from workers.scoring.engine import Engine

EngineOfJob = Callable[[Job, Callable[[int], None]], "Engine"]


def engine_factory(stores: Stores, settings: Settings) -> EngineOfJob:
    """See `workers.scoring.engines.EngineFactory`."""

    def load(job: Job, on_halved: Callable[[int], None]) -> "Engine":
        version = stores.runs.version(job.ensemble, job.version)
        engine = load_ready(
            stores,
            settings,
            version,
            job.options,
            dataset_fingerprint=job.dataset_fingerprint,
            batch_images=job.batch_images,
            precision=job.precision,
        )
        engine.on_halved = on_halved
        return engine

    return load


def load_ready(
    stores: Stores,
    settings: Settings,
    version: EnsembleVersion,
    options: JobOptions,
    *,
    dataset_fingerprint: str = "",
    batch_images: int = 0,
    precision: str = "",
) -> "Engine":
    """An engine that has proven itself: a GPU has run a whole batch, so one that is too small or broken shows before a
    product can be blamed for it. Raises CannotRunError.
    """
    from workers.scoring.resident import load_engine
    from workers.vision.devices import UnsupportedPrecisionError

    try:
        return load_engine(
            stores.objects,
            version,
            options,
            dataset_fingerprint,
            settings.scoring,
            batch_images=batch_images,
            precision=precision,
        )
    except (NewerSchemaError, UnsupportedPrecisionError) as error:
        raise CannotRunError(str(error)) from error
