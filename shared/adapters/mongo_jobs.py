"""Scoring jobs, chunks and outcomes on a MongoDB server."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from shared.adapters.mongo import Collection, Document, Mongo, Unique
from shared.adapters.rows import from_json, no_chunk, no_job, to_json
from shared.domain.records import Chunk, Job, Outcome

_SUMS = ("products", "images", "done", "failed", "decided", "copied", "scored_images")
_ASKED = 1000  # products in one query


class MongoJobs:
    """The Jobs port."""

    def __init__(self, mongo: Mongo) -> None:
        self._jobs = Collection(mongo, "jobs", [["number"], ["state", "number"]])
        self._chunks = Collection(mongo, "chunks", [["job", "state", "position"], ["job", "position"]])
        self._outcomes = Collection(
            mongo, "outcomes", [Unique(["job", "product"]), ["job", "position"], ["job", "failed", "position"]]
        )

    def create(self, job: Job) -> Job:
        """See the port."""
        self._jobs.insert({"_id": job.id, "number": self._jobs.next_number(), **_job_values(job)})
        return self.job(job.id)

    def job(self, job: str) -> Job:
        """See the port."""
        found = self._jobs.first({"_id": job})
        if found is None:
            raise no_job(job)
        return from_json(Job, found["content"])

    def jobs(self, states: Sequence[str] = ()) -> list[Job]:
        """See the port."""
        return [from_json(Job, found["content"]) for found in self._jobs.find(_in_states(states), order=["-number"])]

    def swap_job(self, old: Job, new: Job) -> bool:
        """See the port."""
        return self._jobs.update(
            {"_id": old.id, "state": old.state, "generation": old.generation}, {"$set": _job_values(new)}
        )

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """See the port."""
        self._chunks.insert_all(
            {"_id": chunk.id, "job": chunk.job, "beat": chunk.beat, **_chunk_values(chunk)} for chunk in chunks
        )

    def chunk(self, chunk: str) -> Chunk:
        """See the port."""
        found = self._chunks.first({"_id": chunk})
        if found is None:
            raise no_chunk(chunk)
        return _chunk(found)

    def chunks(self, job: str, states: Sequence[str] = (), *, limit: int | None = None) -> list[Chunk]:
        """See the port."""
        if limit == 0:
            return []
        found = self._chunks.find({"job": job} | _in_states(states), order=["position", "_id"], limit=limit or 0)
        return [_chunk(document) for document in found]

    def swap_chunk(self, old: Chunk, new: Chunk) -> bool:
        """See the port."""
        return self._chunks.update(
            {"_id": old.id, "state": old.state, "generation": old.generation}, {"$set": _chunk_values(new)}
        )

    def beat(self, chunk: str, generation: int, *, ready: bool, through: int = 0) -> bool:
        """See the port."""
        return self._chunks.update(
            {"_id": chunk, "state": "running", "generation": generation},
            {"$inc": {"beat": 1}, "$set": {"ready": ready, "through": through}},
        )

    def count_chunks(self, job: str) -> dict[str, dict[str, int]]:
        """See the port."""
        group = {"_id": "$counts.of", "sum": {"$sum": "$counts.n"}}
        found: dict[str, dict[str, int]] = {}
        for row in self._chunks.aggregate([{"$match": {"job": job}}, {"$unwind": "$counts"}, {"$group": group}]):
            state, name = row["_id"].split()
            found.setdefault(state, dict.fromkeys(("chunks", *_SUMS), 0))[name] = int(row["sum"])
        return found

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """See the port."""
        self._outcomes.insert_all(
            {
                "job": outcome.job,
                "product": outcome.product,
                "position": outcome.position,
                "failed": bool(outcome.error),
                "content": to_json(outcome),
            }
            for outcome in outcomes
        )

    def outcomes(self, job: str, *, after: int = -1, limit: int = 1000, errors_only: bool = False) -> list[Outcome]:
        """See the port."""
        where = {"job": job, "position": {"$gt": after}} | ({"failed": True} if errors_only else {})
        return [
            from_json(Outcome, found["content"])
            for found in self._outcomes.find(where, order=["position"], limit=limit)
        ]

    def outcomes_of(self, job: str, products: Sequence[int]) -> list[Outcome]:
        """See the port."""
        found: list[Outcome] = []
        remaining = iter(products)
        while asked := list(islice(remaining, _ASKED)):
            where = {"job": job, "product": {"$in": asked}}
            found += [from_json(Outcome, document["content"]) for document in self._outcomes.find(where)]
        return sorted(found, key=lambda outcome: outcome.position)

    def count_outcomes(self, job: str) -> int:
        """See the port."""
        return self._outcomes.count({"job": job})

    def remove_job(self, job: str) -> None:
        """See the port."""
        self._outcomes.delete({"job": job})
        self._chunks.delete({"job": job})
        self._jobs.delete({"_id": job})  # last: while it is there, what is left can be removed again


def _in_states(states: Sequence[str]) -> dict[str, Any]:
    return {"state": {"$in": list(states)}} if states else {}


def _job_values(job: Job) -> dict[str, Any]:
    return {"state": job.state, "generation": job.generation, "content": to_json(job)}


def _chunk_values(chunk: Chunk) -> dict[str, Any]:
    """All but `beat`, which no swap writes. One list of counts, each under its state, is summed in one pass by any
    server: a group with several sums is not.
    """
    sums = {"chunks": 1} | {name: getattr(chunk, name) for name in _SUMS}
    return {
        "state": chunk.state,
        "generation": chunk.generation,
        "position": chunk.position,
        "ready": chunk.ready,
        "through": chunk.through,
        "counts": [{"of": f"{chunk.state} {name}", "n": n} for name, n in sums.items() if n],
        "content": to_json(chunk),
    }


def _chunk(document: Document) -> Chunk:
    beside = {"beat": document["beat"], "ready": document["ready"], "through": document.get("through", 0)}
    return from_json(Chunk, document["content"], **beside)
