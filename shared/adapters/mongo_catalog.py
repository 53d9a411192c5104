"""The catalog of datasets, ingests and product rows on a MongoDB server."""

from collections.abc import Iterable

from shared.adapters.mongo import ONE, Collection, Document, Mongo, Unique
from shared.adapters.rows import dataset_taken, from_json, no_dataset, no_product, to_json
from shared.domain.records import Dataset, Ingest, ProductRow


class MongoCatalog:
    """The Catalog port. Product rows are acknowledged by one server; a write to the majority then covers them all."""

    def __init__(self, mongo: Mongo) -> None:
        self._ingests = Collection(mongo, "ingests")
        self._datasets = Collection(mongo, "datasets")
        self._products = Collection(mongo, "products", [Unique(["dataset", "id"])], write=ONE)
        self._settled = Collection(mongo, "settled_products")

    def begin_ingest(self, ingest: Ingest) -> Ingest:
        """See the port."""
        self._ingests.insert({"_id": ingest.dataset, "content": to_json(ingest)})
        return self.ingest(ingest.dataset) or ingest  # removed at this very moment

    def ingest(self, dataset: str) -> Ingest | None:
        """See the port."""
        found = self._ingests.first({"_id": dataset})
        return None if found is None else from_json(Ingest, found["content"])

    def ingests(self) -> list[Ingest]:
        """See the port."""
        return [from_json(Ingest, found["content"]) for found in self._ingests.find({}, order=["_id"])]

    def end_ingest(
        self, dataset: str, state: str, error: str = "", *, rate: float = 0.0, bad_input: bool = False
    ) -> None:
        """See the port."""
        self._ingests.edit(dataset, Ingest, state=state, error=error, rate=rate, bad_input=bad_input)

    def add_products(self, rows: Iterable[ProductRow]) -> None:
        """See the port."""
        self._products.insert_all(row.plain() for row in rows)
        # what the majority has of this, it has of every write before it
        self._settled.update({"_id": "last"}, {"$inc": {"times": 1}}, insert=True)

    def add_dataset(self, dataset: Dataset) -> None:
        """See the port."""
        stored = {"_id": dataset.name, "content": to_json(dataset)}
        if self._datasets.insert(stored) or self.dataset(dataset.name).fingerprint == dataset.fingerprint:
            return
        raise dataset_taken(dataset.name)

    def dataset(self, name: str) -> Dataset:
        """See the port."""
        found = self._datasets.first({"_id": name})
        if found is None:
            raise no_dataset(name)
        return from_json(Dataset, found["content"])

    def datasets(self) -> list[Dataset]:
        """See the port."""
        return [from_json(Dataset, found["content"]) for found in self._datasets.find({}, order=["_id"])]

    def product(self, dataset: str, product: int) -> ProductRow:
        """See the port."""
        found = self._products.first({"dataset": dataset, "id": product})
        if found is None:
            raise no_product(dataset, product)
        return _product(found)

    def products(self, dataset: str, *, after: int | None = None, limit: int = 1000) -> list[ProductRow]:
        """See the port."""
        where: dict[str, object] = {"dataset": dataset}
        if after is not None:
            where["id"] = {"$gt": after}
        return [_product(found) for found in self._products.find(where, order=["id"], limit=limit)]

    def count_products(self, dataset: str) -> int:
        """See the port."""
        return self._products.count({"dataset": dataset})

    def remove_dataset(self, name: str) -> None:
        """See the port."""
        self._datasets.delete({"_id": name})
        self._products.delete({"dataset": name})
        self._ingests.delete({"_id": name})


def _product(document: Document) -> ProductRow:
    return ProductRow.from_plain(document)  # its _id is the server's own
