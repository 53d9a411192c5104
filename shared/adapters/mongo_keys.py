"""API keys and admissions on a MongoDB server."""

from shared.adapters.mongo import Collection, Mongo, Unique
from shared.adapters.rows import from_json, no_key, secret_taken, to_json
from shared.domain.service_records import Admission, Key


class MongoKeys:
    """The Keys port."""

    def __init__(self, mongo: Mongo) -> None:
        self._keys = Collection(mongo, "keys", [Unique(["digest"]), ["number"]])
        self._admissions = Collection(mongo, "admissions")

    def add_key(self, key: Key) -> Key:
        """See the port."""
        number = self._keys.next_number()
        self._keys.insert({"_id": key.id, "number": number, "digest": key.digest, "content": to_json(key)})
        found = self._keys.first({"_id": key.id})
        if found is None:
            raise secret_taken()
        return from_json(Key, found["content"])

    def key_of(self, digest: str) -> Key | None:
        """See the port."""
        found = self._keys.first({"digest": digest})
        return None if found is None else from_json(Key, found["content"])

    def all_keys(self) -> list[Key]:
        """See the port."""
        return [from_json(Key, found["content"]) for found in self._keys.find({}, order=["number"])]

    def revoke_key(self, key: str) -> None:
        """See the port."""
        if not self._keys.edit(key, Key, revoked=True):
            raise no_key(key)

    def admission(self, tenant: str) -> Admission:
        """See the port."""
        found = self._admissions.first({"_id": tenant})
        return Admission(tenant=tenant) if found is None else from_json(Admission, found["content"])

    def swap_admission(self, old: Admission, new: Admission) -> bool:
        """See the port."""
        values = {"generation": new.generation, "content": to_json(new)}
        if old.generation == 0:
            return self._admissions.insert({"_id": old.tenant, **values})
        return self._admissions.update({"_id": old.tenant, "generation": old.generation}, {"$set": values})
