"""How far an ingest is: what each of its processes last said, and the sum of them."""

import json
from dataclasses import asdict, dataclass

from shared import layout
from shared.domain.errors import NotFoundError
from shared.ports import Objects


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """Bytes of the source (uncompressed), bytes per second since the start, seconds to the end where it is known."""

    bytes_done: int
    bytes_total: int | None
    documents: int
    bad: int
    rate: float
    seconds_left: float | None


def put(objects: Objects, dataset: str, index: int, progress: IngestProgress) -> None:
    """Replace what process `index` says."""
    objects.put(layout.ingest_progress(dataset, index), json.dumps(asdict(progress)).encode())


def read(objects: Objects, dataset: str, processes: int) -> IngestProgress | None:
    """What the processes of an unfinished ingest say together; None while not all have said anything."""
    try:
        told = [
            IngestProgress(**json.loads(objects.read(layout.ingest_progress(dataset, index))))
            for index in range(processes)
        ]
    except NotFoundError:
        return None
    lefts = [one.seconds_left for one in told if one.seconds_left is not None]
    return IngestProgress(
        bytes_done=sum(one.bytes_done for one in told),
        bytes_total=sum(one.bytes_total or 0 for one in told),
        documents=sum(one.documents for one in told),
        bad=sum(one.bad for one in told),
        rate=sum(one.rate for one in told),
        seconds_left=max(lefts, default=None),
    )
