"""A MongoDB server: one client per process, the few commands that Shelver uses, and its errors in Shelver's words.

Only what every server of the protocol knows is used: inserts, finds by indexed equality or range, updates of one
document, plain aggregation, compound unique indexes. Records are kept as JSON in `content`, since their keys are
people's words; what is compared, ordered or counted stands beside it.
"""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pymongo
from pymongo.collection import Collection as Documents
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError
from pymongo.write_concern import WriteConcern

from shared.adapters.rows import from_json, to_json
from shared.domain.errors import BadInputError, NewerSchemaError, StoreUnavailableError
from shared.domain.records import Record
from shared.settings import MongoSettings

STORE_VERSION = 1
MAJORITY = WriteConcern("majority", j=True)
ONE = WriteConcern(1)
_INSERTS = 5000  # documents in one command: bounds memory, whatever the iterable yields
_DUPLICATE = 11000

Document = Mapping[str, Any]
Index = Sequence[str]
_Record = TypeVar("_Record", bound=Record)


class Mongo:
    """One database of a server. Connects lazily, once per process: a client does not survive a fork."""

    def __init__(self, url: str, settings: MongoSettings) -> None:
        """`url`: mongodb://[USER:PASSWORD@]HOST[:PORT]/DATABASE[?options]. Raises BadInputError without a database."""
        parts = urlsplit(url)
        if not parts.path.strip("/"):
            raise _bad_address("it names no database", "write mongodb://HOST/DATABASE")
        self._url = url
        self._settings = settings
        self._place = f"MongoDB at {parts.netloc.rpartition('@')[2]}"
        self._lock = threading.Lock()
        self._pid = 0
        self._database: Database[Any]
        self._indexed: set[str]

    def documents(self, name: str, indexes: Sequence["Unique | Index"], write: WriteConcern) -> "Documents[Any]":
        """A collection of pymongo's, with its indexes. Raises StoreUnavailableError and NewerSchemaError."""
        if self._pid != os.getpid():
            self._connect()
        found: Documents[Any] = self._database.get_collection(name, write_concern=write)
        if name not in self._indexed:
            for index in indexes:
                keys = [(field, pymongo.ASCENDING) for field in index]
                found.create_index(keys, unique=isinstance(index, Unique))
            self._indexed.add(name)
        return found

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What pymongo raises as StoreUnavailableError, but for a duplicate key."""
        try:
            yield
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            reason = str(error).partition(", full error: ")[0].partition(", Timeout: ")[0]
            remedy = "is the server up, and do user and password of SHELVER_CATALOG fit?"
            raise StoreUnavailableError(f"{self._place}: {reason}; {remedy}") from error

    def _connect(self) -> None:
        limits = self._settings
        try:
            client: pymongo.MongoClient[Any] = pymongo.MongoClient(
                self._url,
                appname="shelver",
                connectTimeoutMS=_milliseconds(limits.connect_seconds),
                serverSelectionTimeoutMS=_milliseconds(limits.select_seconds),
                socketTimeoutMS=_milliseconds(limits.read_seconds),
            )
        except (ConfigurationError, InvalidURI, ValueError):  # their words may repeat the password
            raise _bad_address("it cannot be read as an address", "see MongoDB's connection strings") from None
        try:
            database = client.get_default_database()
            _check_version(database.get_collection("meta", write_concern=MAJORITY), self._place)
        except BaseException:
            client.close()
            raise
        with self._lock:  # not around the waiting above: many threads would wait one after the other
            if self._pid == os.getpid():
                client.close()
                return
            weakref.finalize(self, client.close)
            self._database, self._indexed, self._pid = database, set(), os.getpid()


class Unique(tuple[str, ...]):
    """Fields of an index that no two documents share."""

    __slots__ = ()


class Collection:
    """One collection, in the words that the adapters use. Every method may raise StoreUnavailableError."""

    def __init__(
        self, mongo: Mongo, name: str, indexes: Sequence[Unique | Index] = (), *, write: WriteConcern = MAJORITY
    ) -> None:
        self._mongo = mongo
        self._name = name
        self._indexes = indexes
        self._write = write

    @contextmanager
    def _opened(self) -> Iterator["Documents[Any]"]:
        with self._mongo.translated():
            yield self._mongo.documents(self._name, self._indexes, self._write)

    def insert(self, document: Document) -> bool:
        """Insert a document; False where a unique key is there already."""
        with self._opened() as documents:
            try:
                documents.insert_one(dict(document))
            except DuplicateKeyError:
                return False
            return True

    def insert_all(self, documents: Iterable[Document]) -> None:
        """Insert in bulk; a document whose unique key is there already is left out."""
        remaining = iter(documents)
        while batch := list(islice(remaining, _INSERTS)):
            with self._opened() as stored:
                try:
                    stored.insert_many([dict(one) for one in batch], ordered=False)
                except BulkWriteError as error:
                    others = [one for one in error.details["writeErrors"] if one["code"] != _DUPLICATE]
                    if others or error.details.get("writeConcernErrors"):
                        raise

    def first(self, where: Document) -> dict[str, Any] | None:
        """A document that fits, if any."""
        with self._opened() as documents:
            found: dict[str, Any] | None = documents.find_one(where)
            return found

    def find(self, where: Document, *, order: Sequence[str] = (), limit: int = 0) -> list[dict[str, Any]]:
        """The documents that fit, in `order` of these fields (`-field`: descending), at most `limit` (0: all)."""
        keys = [(field.removeprefix("-"), -1 if field.startswith("-") else 1) for field in order]
        with self._opened() as documents:
            cursor = documents.find(where).limit(limit)
            return list(cursor.sort(keys) if keys else cursor)

    def update(self, where: Document, change: Document, *, insert: bool = False) -> bool:
        """Change one document that fits, in one step; False where none does (with `insert`, one is made)."""
        with self._opened() as documents:
            return documents.update_one(where, change, upsert=insert).matched_count == 1

    def delete(self, where: Document) -> None:
        """Remove all that fit."""
        with self._opened() as documents:
            documents.delete_many(where)

    def count(self, where: Document) -> int:
        """How many fit."""
        with self._opened() as documents:
            return documents.count_documents(where)

    def aggregate(self, stages: Sequence[Document]) -> list[dict[str, Any]]:
        """What an aggregation gives."""
        with self._opened() as documents:
            return list(documents.aggregate(stages))

    def next_number(self) -> int:
        """One more than the last one that was given out for this collection: the order of what is created."""
        numbers = Collection(self._mongo, "numbers")
        with numbers._opened() as documents:
            change = {"$inc": {"last": 1}}
            after = pymongo.ReturnDocument.AFTER
            found = documents.find_one_and_update({"_id": self._name}, change, upsert=True, return_document=after)
            assert found is not None, "an upsert answers with its document"
            return int(found["last"])

    def edit(self, key: str, kind: type[_Record], **changes: Any) -> bool:
        """Change fields of the record under `_id`, whoever else changes it at the same time; False if none is there."""
        while (document := self.first({"_id": key})) is not None:
            changed = replace(from_json(kind, document["content"]), **changes)
            if self.update({"_id": key, "content": document["content"]}, {"$set": {"content": to_json(changed)}}):
                return True
        return False


def _check_version(meta: "Documents[Any]", place: str) -> None:
    found = meta.find_one({"_id": "store"})
    if found is None:
        try:
            meta.insert_one({"_id": "store", "version": STORE_VERSION})
        except DuplicateKeyError:  # another process was first
            _check_version(meta, place)
    elif found["version"] > STORE_VERSION:
        raise NewerSchemaError(
            f"{place}: written by a newer Shelver (store version {found['version']}, this one reads {STORE_VERSION}); "
            "upgrade, or name another database in SHELVER_CATALOG"
        )


def _bad_address(reason: str, remedy: str) -> BadInputError:
    return BadInputError("SHELVER_CATALOG", reason, remedy=remedy)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
