"""What `gc` removes and `doctor` mentions: garbage of the stores, and files of died processes beside them."""

from collections.abc import Sequence
from dataclasses import replace

from shared import retention, wiring
from shared.domain.errors import ConflictError
from shared.ports import Stores
from shared.retention import Garbage
from shared.settings import Settings


def find(settings: Settings, stores: Stores, now: float) -> list[Garbage]:
    """Everything that could go, in an order in which it can; `now` in seconds since the epoch."""
    found = retention.find(stores.objects, stores.catalog, stores.runs, stores.jobs, settings.retention, now)
    gone = {garbage.name for garbage in found if garbage.kind == "run" and garbage.remove}
    runs = [run for run in stores.runs.runs() if run.id not in gone]
    for left in wiring.left_files(settings, runs, now):
        name = left.path.relative_to(settings.home).as_posix()
        found.append(Garbage("file", name, left.why, left.bytes, left.remove))
    return found


def remove(found: Sequence[Garbage]) -> list[Garbage]:
    """Remove what can be removed; the same garbage again, what is refused with the reason and without its `remove`."""
    return [_removed(garbage) for garbage in found]


def _removed(garbage: Garbage) -> Garbage:
    try:
        if garbage.remove is not None:
            garbage.remove()
    except ConflictError as refused:
        return replace(garbage, why=str(refused), remove=None)
    return garbage
