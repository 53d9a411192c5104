"""Leadership leases on a MongoDB server."""

from shared.adapters.mongo import Collection, Mongo
from shared.adapters.rows import from_json, to_json
from shared.domain.service_records import Lease


class MongoLeases:
    """The Leases port."""

    def __init__(self, mongo: Mongo) -> None:
        self._leases = Collection(mongo, "leases")

    def lease(self, name: str) -> Lease:
        """See the port."""
        found = self._leases.first({"_id": name})
        return Lease(name=name) if found is None else from_json(Lease, found["content"])

    def swap_lease(self, old: Lease, new: Lease) -> bool:
        """See the port."""
        values = {"term": new.term, "beat": new.beat, "content": to_json(new)}
        if self._leases.update({"_id": old.name, "term": old.term, "beat": old.beat}, {"$set": values}):
            return True
        return (old.term, old.beat) == (0, 0) and self._leases.insert({"_id": old.name, **values})
