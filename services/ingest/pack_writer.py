"""One pack as it is stored: its documents, their index, and an account of it.

Worker processes import this module, so it stays clear of pyarrow.
"""

import json
from dataclasses import dataclass

from services.ingest.pack_walk import Advance, PackWalk, Rules, TooManyBad
from services.ingest.window import Window
from shared import layout
from shared.domain.errors import NotFoundError
from shared.domain.records import Record
from shared.ports import Objects


@dataclass(frozen=True, slots=True)
class PackPlace:
    """Where a pack goes, where its documents may start (before `limit`), and the ingest that it is of, as a digest."""

    dataset: str
    number: int
    limit: int
    ingest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackAccount(Record):
    """What became of one pack. The next one starts at `end`, unless the walk `stopped` at one bad document too many."""

    number: int
    start: int
    end: int
    documents: int = 0
    images: int = 0
    unrecognised: int = 0
    bytes: int = 0
    bad: tuple[tuple[int, str], ...] = ()  # (offset in the source, reason)
    stopped: bool = False
    ingest: str = ""  # digest of the row: what a removed ingest left behind counts for none

    @property
    def placed(self) -> bool:
        """Whether it says where the pack lies in the dump."""
        return self.start >= 0


def unplaced(place: PackPlace) -> PackAccount:
    """The account of a pack of which only that is known that it has to be written once its start is."""
    return PackAccount(number=place.number, start=-1, end=-1, ingest=place.ingest)


def write_pack(objects: Objects, window: Window, place: PackPlace, rules: Rules, advance: Advance) -> PackAccount:
    """Write the pack at `place` from the documents that follow `window.base`, its columns, and last its account.

    Nothing is written if one bad document too many stops the walk; the account says so.
    """
    start = window.base
    walk = PackWalk(window, place.limit, rules, advance)
    pack, before = layout.pack(place.dataset, place.number), read_account(objects, place)
    try:
        known = [bytes(block) for block in walk.content()] if before is not None and before.placed else None
        if known is None:
            objects.put(pack, walk.content())
        elif not _is_stored(objects, pack, known):
            put_account(objects, place, unplaced(place))  # it is not the account of what comes now
            objects.put(pack, known)
    except TooManyBad:
        return PackAccount(number=place.number, start=start, end=walk.position, bad=tuple(walk.bad), stopped=True)
    objects.put(layout.ingest_columns(place.dataset, place.number), walk.columns.to_npz())
    account = PackAccount(
        number=place.number,
        start=start,
        end=walk.position,
        documents=len(walk.columns),
        images=len(walk.columns.image_length) // 8,
        unrecognised=walk.unrecognised,
        bytes=walk.written,
        bad=tuple(walk.bad),
        ingest=place.ingest,
    )
    put_account(objects, place, account)
    return account


def put_account(objects: Objects, place: PackPlace, account: PackAccount) -> None:
    """Replace the account of a pack."""
    objects.put(layout.ingest_pack(place.dataset, place.number), json.dumps(account.plain()).encode())


def read_account(objects: Objects, place: PackPlace) -> PackAccount | None:
    """The account of a pack that this ingest has written, if it has."""
    try:
        account = PackAccount.from_plain(json.loads(objects.read(layout.ingest_pack(place.dataset, place.number))))
    except NotFoundError:
        return None
    return account if account.ingest == place.ingest else None


def _is_stored(objects: Objects, key: str, content: list[bytes]) -> bool:
    with objects.open(key) as stored:
        return all(stored.read(len(block)) == block for block in content) and not stored.read(1)
