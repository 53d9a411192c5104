"""What the adapters of document stores have in common: records as JSON, and the words for what is not there."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from shared.domain.errors import ConflictError, NotFoundError
from shared.domain.records import Record

_Record = TypeVar("_Record", bound=Record)


def to_json(record: Record) -> str:
    """A record as the JSON that `from_json` reads."""
    return msgspec.json.encode(record).decode()


def from_json(kind: type[_Record], text: str, **beside: Any) -> _Record:
    """The record that `to_json` wrote, but for what is stored beside it. Raises NewerSchemaError."""
    return kind.from_plain(msgspec.json.decode(text) | beside)


def _of_list(what: str) -> Callable[[str], NotFoundError]:
    return lambda name: NotFoundError(f"there is no {what} '{name}'; see `shelver {what}s`")


no_dataset = _of_list("dataset")
no_job = _of_list("job")
no_key = _of_list("key")


def no_chunk(chunk: str) -> NotFoundError:
    """Nobody has planned it."""
    return NotFoundError(f"there is no chunk '{chunk}'")


def no_product(dataset: str, product: int) -> NotFoundError:
    """The dataset has no row of it."""
    return NotFoundError(f"there is no product {product} in the dataset '{dataset}'")


def no_row(kind: type[Record], key: str) -> NotFoundError:
    """A run or training that nobody declared."""
    return NotFoundError(f"there is no {kind.__name__.lower()} '{key}'")


def no_version(name: str, version: str) -> NotFoundError:
    """`version` is empty for the current one."""
    what = f"version '{version}' of the ensemble '{name}'" if version else f"current version of '{name}'"
    return NotFoundError(f"there is no {what}; see `shelver ensembles`")


def dataset_taken(name: str) -> ConflictError:
    """A dataset of the name has another fingerprint."""
    return ConflictError(
        f"there is a dataset '{name}' with other content; choose another name, "
        f"or remove it with `shelver rm dataset {name}`"
    )


def secret_taken() -> ConflictError:
    """The digest of a new key belongs to another one."""
    return ConflictError("another key has the same secret; make a new one")
