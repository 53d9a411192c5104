"""How an attempt at a run ends: an exit code, and why."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.domain.errors import BadInputError, NotFoundError, ShelverError, StoreUnavailableError
from workers.training.preemption import PREEMPTED, PreemptedError

COMPLETE, FAILED, BAD_INPUT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Ending:
    """An exit code, and its reason in one line; empty where the run is complete."""

    exit_code: int
    reason: str = ""


def ending_of(attempt: Callable[[], Ending]) -> Ending:
    """Make the attempt: its ending, also where it raises an error that a person can act on."""
    try:
        return attempt()
    except PreemptedError:
        return Ending(PREEMPTED, "preempted: a checkpoint is written")
    except StoreUnavailableError as error:  # no fault of the run's: it goes on when the store is back
        return Ending(PREEMPTED, str(error))
    except (BadInputError, NotFoundError) as error:
        return Ending(BAD_INPUT, str(error))
    except ShelverError as error:
        return Ending(FAILED, str(error))
