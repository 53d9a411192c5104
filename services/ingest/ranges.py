"""A dump in packs: one after another in this process, or ranges of it in several processes at once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from services.ingest.pack_walk import Advance, Rules
from services.ingest.pack_writer import PackAccount, PackPlace, put_account, read_account, unplaced, write_pack
from services.ingest.processes import Processes
from services.ingest.progress import Meter
from services.ingest.window import Window, find_start, reader_of
from shared.dumps import Dump
from shared.ports import Objects
from shared.settings import IngestSettings


@dataclass(frozen=True, slots=True)
class Target:
    """Where packs go and by which rules; sent to the processes that write them."""

    objects: Objects
    dataset: str
    rules: Rules
    settings: IngestSettings
    ingest: str  # digest of its row

    def place(self, number: int) -> PackPlace:
        """The place of pack `number`."""
        return PackPlace(self.dataset, number, (number + 1) * self.settings.pack_bytes, self.ingest)


def write_range(target: Target, dump: Dump, number: int, start: int | None, advance: Advance) -> PackAccount | None:
    """Write pack `number` of the dump from its document at `start`; None means: from the first that is found.

    None is returned where no document is found in the range.
    """
    place = target.place(number)
    begin = place.limit - target.settings.pack_bytes
    offset = begin if start is None else start
    with dump.open(offset) as read_into:
        window = Window(read_into, offset, target.settings.block_bytes)
        if start is None and find_start(window, begin, target.rules.chain_documents, place.limit) is None:
            return None
        return write_pack(target.objects, window, place, target.rules, advance)


def packs_of_share(target: Target, dump: Dump, numbers: range, meter: Meter) -> Iterator[PackAccount]:
    """Write the packs `numbers` of a dump, but for those that are written: each from where the one before ended, the
    first of them, if it is not the dump's, from the first document that is found.

    A pack in which none is found, or one bad document too many, leaves an account that fits nowhere: whoever knows
    where it begins writes it.
    """
    start = None if numbers.start else 0
    for number in numbers:
        account = read_account(target.objects, target.place(number))
        if account is not None:
            meter.skip([account])
        else:
            account = write_range(target, dump, number, start, meter.advance)
            if account is not None:
                yield account
            if account is None or account.stopped:
                account = unplaced(target.place(number))
                put_account(target.objects, target.place(number), account)
        start = account.end if account.placed else None


def all_written(target: Target, size: int) -> bool:
    """Whether every pack of a dump of `size` bytes has an account."""
    return all(
        read_account(target.objects, target.place(number)) is not None
        for number in pack_numbers(size, target.settings.pack_bytes)
    )


def pack_numbers(size: int, pack_bytes: int) -> range:
    """The numbers of the packs of a dump of `size` bytes."""
    return range(-(-size // pack_bytes))


def packs_of_stream(target: Target, read: Callable[[int], bytes], meter: Meter) -> Iterator[PackAccount]:
    """Write the packs of a source that is read once, from its start."""
    window = Window(reader_of(read), 0, target.settings.block_bytes)
    number = 0
    while window.holds(window.base + 1):
        account = write_pack(target.objects, window, target.place(number), target.rules, meter.advance)
        yield account
        window.drop(account.end)
        number += 1


def packs_of_file(target: Target, dump: Dump, size: int, processes: int, meter: Meter) -> Iterator[PackAccount]:
    """Write the packs of a dump in `processes` processes, but for those that an earlier ingest has written.

    Several processes begin at guesses. A pack counts only if the one before ends right where it begins; else it is
    written again from there.
    """
    numbers = pack_numbers(size, target.settings.pack_bytes)
    written = {number: read_account(target.objects, target.place(number)) for number in numbers}
    meter.skip([account for account in written.values() if account])
    missing = [number for number in numbers if written[number] is None]
    if processes == 1 or len(missing) < 2:
        yield from _in_order(written, lambda number, start: _write_at(target, dump, number, start, meter.advance))
        return
    with Processes((target, dump), min(processes, len(missing)), meter) as others:
        others.guess(missing)
        yield from _in_order(written, others.write)


def _write_at(target: Target, dump: Dump, number: int, start: int, advance: Advance) -> PackAccount:
    account = write_range(target, dump, number, start, advance)
    assert account is not None  # a start was given
    return account


def _in_order(
    written: Mapping[int, PackAccount | None], write: Callable[[int, int], PackAccount]
) -> Iterator[PackAccount]:
    start = 0
    for number, account in written.items():
        if account is None or account.start != start:
            account = write(number, start)
        yield account
        start = account.end
