"""A dump in packs: one after another in this process, or ranges of it in several processes at once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.ingest.pack_writer import Advance, PackAccount, PackPlace, Rules, read_account, write_pack
from services.ingest.processes import Processes
from services.ingest.progress import Meter
from services.ingest.window import Window, find_start, reader_of
from shared.ports import Objects
from shared.settings import IngestSettings


@dataclass(frozen=True, slots=True)
class Target:
    """Where packs go and by which rules; sent to the processes that write them."""

    objects: Objects
    dataset: str
    rules: Rules
    settings: IngestSettings

    def place(self, number: int) -> PackPlace:
        """The place of pack `number`."""
        return PackPlace(self.dataset, number, (number + 1) * self.settings.pack_bytes)


def write_range(target: Target, path: Path, number: int, start: int | None, advance: Advance) -> PackAccount | None:
    """Write pack `number` of the dump at `path` from its document at `start`; None means: from the first that is found.

    None is returned where no document is found in the range.
    """
    place = target.place(number)
    begin = place.limit - target.settings.pack_bytes
    with path.open("rb", buffering=0) as file:
        file.seek(begin if start is None else start)
        window = Window(file.readinto, file.tell(), target.settings.block_bytes)
        if start is None and find_start(window, begin, target.rules.chain_documents, place.limit) is None:
            return None
        return write_pack(target.objects, window, place, target.rules, advance)


def packs_of_stream(target: Target, read: Callable[[int], bytes], meter: Meter) -> Iterator[PackAccount]:
    """Write the packs of a source that is read once, from its start."""
    window = Window(reader_of(read), 0, target.settings.block_bytes)
    number = 0
    while window.holds(window.base + 1):
        account = write_pack(target.objects, window, target.place(number), target.rules, meter.advance)
        yield account
        window.drop(account.end)
        number += 1


def packs_of_file(target: Target, path: Path, size: int, processes: int, meter: Meter) -> Iterator[PackAccount]:
    """Write the packs of a dump in `processes` processes, but for those that an earlier ingest has written.

    Several processes begin at guesses. A pack counts only if the one before ends right where it begins; else it is
    written again from there.
    """
    numbers = range(-(-size // target.settings.pack_bytes))
    written = {number: read_account(target.objects, target.dataset, number) for number in numbers}
    meter.skip(sum(account.end - account.start for account in written.values() if account))
    missing = [number for number in numbers if written[number] is None]
    if processes == 1 or len(missing) < 2:
        yield from _in_order(written, lambda number, start: _write_at(target, path, number, start, meter.advance))
        return
    with Processes((target, path), min(processes, len(missing)), meter) as others:
        others.guess(missing)
        yield from _in_order(written, others.write)


def _write_at(target: Target, path: Path, number: int, start: int, advance: Advance) -> PackAccount:
    account = write_range(target, path, number, start, advance)
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
