"""How many products of a tenant may be outstanding: pure rules over the admission row and the unfinished jobs.

A request is let in by raising the row's generation, so that of two that were judged on the same row only one is. What
was let in stays in the row until its job is there to be counted itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from shared.domain.service_records import Admission


def outstanding(row: Admission, remaining: Mapping[str, int], stale: Collection[str] = ()) -> int:
    """Products let in and not finished. `remaining` has the unfinished jobs; `stale` was let in and never made."""
    waiting = {job: products for job, products in row.pending.items() if job not in stale}
    return sum((waiting | dict(remaining)).values())


def admit(
    row: Admission,
    remaining: Mapping[str, int],
    known: Collection[str],
    job: str,
    products: int,
    *,
    most: int,
    stale: Collection[str] = (),
) -> Admission | None:
    """The row with `job` let in; None where its products would be more than `most` with those outstanding.

    `known` are the pending jobs whose rows are there, read after `row` was: those and the stale ones are let go of.
    """
    pending = {name: n for name, n in row.pending.items() if name not in known and name not in stale}
    if outstanding(replace(row, pending=pending), {**remaining, job: 0}) + products > most:
        return None
    return replace(row, generation=row.generation + 1, pending=pending | {job: products})
