"""The one place that chooses adapters."""

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

from shared.adapters.child import ChildQueue
from shared.adapters.directory import DirectoryObjects
from shared.adapters.home_lock import exclusive as exclusive_home
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.adapters.sqlite_runs import SqliteRuns
from shared.adapters.subprocesses import SubprocessLauncher
from shared.ports import Catalog, Jobs, Launcher, Objects, Queue, Runs
from shared.settings import Settings, to_environment

_COMPUTING = {"GOMP_SPINCOUNT": "1000"}
"""Threads of a network that wait spin only briefly: decoding and whatever else the machine does share its cores.
Seen on 2 cores (resnet18 training): no difference on an idle machine, 33-44 images/s instead of 10-27 on a busy one."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that every process may open."""

    objects: Objects
    catalog: Catalog
    runs: Runs
    jobs: Jobs


def objects(settings: Settings) -> Objects:
    """The object store alone: all that a training process gets."""
    return DirectoryObjects(settings.home / "objects")


def stores(settings: Settings) -> Stores:
    """All stores of the settings."""
    database = settings.home / "shelver.sqlite"
    return Stores(objects(settings), SqliteCatalog(database), SqliteRuns(database), SqliteJobs(database))


def queue(settings: Settings) -> Queue:
    """The transport to scoring workers: here one supervised child process."""
    return ChildQueue(
        [sys.executable, "-m", "workers.scoring"],
        environment=_COMPUTING | to_environment(settings),
        log=settings.home / "logs" / "scoring.log",
    )


def launcher(settings: Settings) -> Launcher:
    """What starts training processes."""
    return SubprocessLauncher(settings.home / "processes", environment=_COMPUTING | to_environment(settings))


def exclusive(settings: Settings) -> AbstractContextManager[None]:
    """The embedded stores for this process alone. Raises FailedError when another one works there."""
    return exclusive_home(settings.home)
