"""What services keep beside the catalog, trainings and jobs: API keys, quota, leadership."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Record):
    """An API key: who may do what for which tenant. Of its secret only the digest is kept."""

    id: str
    tenant: str
    scopes: tuple[str, ...]  # of read, submit, admin
    digest: str  # SHA-256 of the secret, in hex
    name: str = ""  # what a person calls it
    revoked: bool = False
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission(Record):
    """The jobs of a tenant that were let in and whose rows may not be there yet, with their products.

    What counts against a quota is these and the unfinished jobs; a swap lets one request in at a time.
    """

    tenant: str
    generation: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Record):
    """Who leads. `term` rises with each leader and `beat` while one lives; observers judge by their own clock."""

    name: str
    holder: str = ""
    term: int = 0
    beat: int = 0
