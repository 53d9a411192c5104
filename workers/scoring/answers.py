"""One-off questions: the answer for one product, from its pictures, now."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.domain.errors import BadInputError, NewerSchemaError
from shared.domain.predictions import to_plain
from shared.domain.records import SCHEMA, JobOptions
from shared.ports import Clock, Stores
from shared.settings import Settings
from workers.scoring.loading import load_ready
from workers.scoring.residents import Residents

if TYPE_CHECKING:
    from workers.scoring.engine import Engine


class Answers:
    """Answers by ensemble versions that stay in memory beside those of jobs."""

    def __init__(
        self, stores: Stores, settings: Settings, residents: "Residents[Any]", *, clock: Clock = time.perf_counter
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._residents = residents
        self._clock = clock

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """`ensemble`, `version` (empty: the current one) and `uploads`, object keys, give predictions per combination.

        `seconds` is the time from question to answer, loading included; `stages` are those of the engine. Raises
        BadInputError, NotFoundError and NewerSchemaError.
        """
        if question["schema"] > SCHEMA:
            raise NewerSchemaError(f"a question of schema {question['schema']}: this worker reads up to {SCHEMA}")
        began = self._clock()
        pictures = [self._stores.objects.read(key) for key in question["uploads"]]
        if not pictures:
            raise BadInputError("images", "there is none", remedy="give at least one picture of the product")
        result, stages = self._engine_of(question["ensemble"], question["version"]).answer(pictures)
        return {
            "schema": SCHEMA,
            "error": result.error,
            "source": result.source,
            "overridden": result.overridden,
            "predictions": {name: to_plain(prediction) for name, prediction in result.predictions.items()},
            "model_only": {name: to_plain(prediction) for name, prediction in result.model_only.items()},
            "seconds": self._clock() - began,
            "stages": stages,
        }

    def _engine_of(self, name: str, asked: str) -> "Engine":
        version = self._stores.runs.version(name, asked)

        def load() -> "Engine":
            table = bool(version.duplicate_table)
            options = JobOptions(
                image_duplicates=version.document["image_duplicates"] if table else "none",
                product_duplicates=version.document["product_duplicates"] if table else "none",
                skip_decided=False,
            )
            return load_ready(self._stores, self._settings, version, options)

        engine: Engine = self._residents.use((version.name, version.version), load)
        return engine

    def warm(self, ensemble: str) -> None:
        """Have an ensemble, NAME or NAME@VERSION, in memory before it is asked."""
        name, _, version = ensemble.partition("@")
        self._engine_of(name, version)
