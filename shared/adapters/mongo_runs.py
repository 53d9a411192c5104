"""Runs, trainings and ensemble versions on a MongoDB server."""

from typing import TypeVar

from shared.adapters.mongo import Collection, Mongo, Unique
from shared.adapters.rows import from_json, no_row, no_version, to_json
from shared.domain.records import EnsembleVersion, Run, Training

_Row = TypeVar("_Row", Run, Training)


class MongoRuns:
    """The Runs port."""

    def __init__(self, mongo: Mongo) -> None:
        self._runs = Collection(mongo, "runs", [["number"]])
        self._trainings = Collection(mongo, "trainings", [["number"]])
        self._versions = Collection(mongo, "ensemble_versions", [Unique(["name", "version"]), ["number"]])
        self._current = Collection(mongo, "current_versions")

    def declare(self, run: Run) -> Run:
        """See the port."""
        return _add(self._runs, run)

    def run(self, run: str) -> Run:
        """See the port."""
        return _get(self._runs, Run, run)

    def runs(self) -> list[Run]:
        """See the port."""
        return _all(self._runs, Run)

    def swap_run(self, old: Run, new: Run) -> bool:
        """See the port."""
        return _swap(self._runs, old, new)

    def remove_run(self, run: str) -> None:
        """See the port."""
        self._runs.delete({"_id": run})

    def add_training(self, training: Training) -> Training:
        """See the port."""
        return _add(self._trainings, training)

    def training(self, training: str) -> Training:
        """See the port."""
        return _get(self._trainings, Training, training)

    def trainings(self) -> list[Training]:
        """See the port."""
        return _all(self._trainings, Training)

    def swap_training(self, old: Training, new: Training) -> bool:
        """See the port."""
        return _swap(self._trainings, old, new)

    def remove_training(self, training: str) -> None:
        """See the port."""
        self._trainings.delete({"_id": training})

    def add_version(self, version: EnsembleVersion) -> EnsembleVersion:
        """See the port."""
        key = {"name": version.name, "version": version.version}
        self._versions.insert({**key, "number": self._versions.next_number(), "content": to_json(version)})
        return self.version(version.name, version.version)

    def version(self, name: str, version: str = "") -> EnsembleVersion:
        """See the port."""
        wanted = version or self.current(name)
        found = self._versions.first({"name": name, "version": wanted})
        if found is None:
            raise no_version(name, version)
        return from_json(EnsembleVersion, found["content"])

    def versions(self, name: str = "") -> list[EnsembleVersion]:
        """See the port."""
        found = self._versions.find({"name": name} if name else {}, order=["number"])
        return [from_json(EnsembleVersion, document["content"]) for document in found]

    def remove_version(self, name: str, version: str) -> None:
        """See the port."""
        self._current.delete({"_id": name, "version": version})
        self._versions.delete({"name": name, "version": version})

    def set_current(self, name: str, version: str) -> None:
        """See the port."""
        self.version(name, version)
        self._current.update({"_id": name}, {"$set": {"version": version}}, insert=True)

    def current(self, name: str) -> str:
        """See the port."""
        found = self._current.first({"_id": name})
        return str(found["version"]) if found else ""


def _add(rows: Collection, row: _Row) -> _Row:
    values = {"state": row.state, "generation": row.generation, "content": to_json(row)}
    rows.insert({"_id": row.id, "number": rows.next_number(), **values})
    return _get(rows, type(row), row.id)


def _get(rows: Collection, kind: type[_Row], key: str) -> _Row:
    found = rows.first({"_id": key})
    if found is None:
        raise no_row(kind, key)
    return from_json(kind, found["content"])


def _all(rows: Collection, kind: type[_Row]) -> list[_Row]:
    return [from_json(kind, found["content"]) for found in rows.find({}, order=["number"])]


def _swap(rows: Collection, old: _Row, new: _Row) -> bool:
    values = {"state": new.state, "generation": new.generation, "content": to_json(new)}
    return rows.update({"_id": old.id, "state": old.state, "generation": old.generation}, {"$set": values})
