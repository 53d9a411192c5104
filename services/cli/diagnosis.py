"""All that `doctor` looks at. Every check answers, whatever is broken, and says what to do; none changes anything."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from services.cli.checks import Check, answer
from services.cli.content_checks import dataset_checks, leftover_checks, version_checks
from services.cli.home_checks import home_checks
from services.cli.machine_checks import machine_checks
from services.cli.work_checks import job_checks, training_checks
from shared import wiring
from shared.domain.errors import BadInputError
from shared.settings import Settings


def diagnose(settings: Settings, faults: Sequence[BadInputError], now: float) -> Iterator[Check]:
    """Every check, in the order in which a person would mend things; `now` in seconds since the epoch."""
    yield from machine_checks(settings, faults)
    of_home = list(home_checks(settings))
    yield from of_home
    if of_home[-1].ok and (settings.catalog or (settings.home / "shelver.sqlite").exists()):
        yield from content_checks(settings, now)


def content_checks(settings: Settings, now: float) -> Iterator[Check]:
    """What is in the stores, which can be opened."""
    stores, busy = wiring.stores(settings), bool(settings.catalog)  # on servers, any machine may work
    with suppress(OSError):  # the line of the lock has said it
        busy = busy or bool(wiring.holder(settings))
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "datasets": partial(dataset_checks, settings, stores, busy=busy),
        "ensembles": partial(version_checks, settings, stores),
        "trainings": partial(training_checks, settings, stores, busy=busy),
        "jobs": partial(job_checks, settings, stores, busy=busy),
        "leftovers": partial(leftover_checks, settings, stores, now),
    }
    for name, look in looks.items():
        found: list[Check] = []

        def all_of(look: Callable[[], Iterator[Check]] = look, found: list[Check] = found) -> str:
            found.extend(look())
            return ""

        failed = answer(name, "the lines above may say why; else report it with this line", all_of)
        yield from found if failed.ok else [*found, failed]
