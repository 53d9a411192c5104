"""The one place that chooses adapters."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from shared.adapters import home_lock
from shared.adapters.child import ChildQueue
from shared.adapters.directory import DirectoryObjects
from shared.adapters.home_files import LeftFile
from shared.adapters.home_files import left_files as find_left_files
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.adapters.sqlite_keys import SqliteKeys
from shared.adapters.sqlite_leases import SqliteLeases
from shared.adapters.sqlite_runs import SqliteRuns
from shared.adapters.subprocesses import SubprocessLauncher
from shared.domain import retention
from shared.domain.errors import BadInputError
from shared.domain.records import Run
from shared.domain.runs import process_name
from shared.dumps import S3, Buckets
from shared.ports import Launcher, Objects, Queue, Stores
from shared.settings import Settings, to_environment
from shared.telemetry import Check

COMPUTING = {"GOMP_SPINCOUNT": "1000"}
"""Threads of a network that wait spin only briefly: decoding and whatever else the machine does share its cores.
Seen on 2 cores (resnet18 training): no difference on an idle machine, 33-44 images/s instead of 10-27 on a busy one."""


def objects(settings: Settings) -> Objects:
    """The object store alone: all that a training process gets."""
    if settings.objects:
        bucket, _, prefix = settings.objects.removeprefix(S3).partition("/")
        return _s3(settings, bucket, prefix)
    return DirectoryObjects(settings.home / "objects")


def stores(settings: Settings) -> Stores:
    """All stores of the settings."""
    if settings.catalog:
        return _on_mongo(settings)
    database = settings.home / "shelver.sqlite"
    return Stores(
        objects(settings),
        SqliteCatalog(database),
        SqliteRuns(database),
        SqliteJobs(database),
        SqliteKeys(database),
        SqliteLeases(database),
    )


def _on_mongo(settings: Settings) -> Stores:
    from shared.adapters.mongo import Mongo
    from shared.adapters.mongo_catalog import MongoCatalog
    from shared.adapters.mongo_jobs import MongoJobs
    from shared.adapters.mongo_keys import MongoKeys
    from shared.adapters.mongo_leases import MongoLeases
    from shared.adapters.mongo_runs import MongoRuns

    mongo = Mongo(settings.catalog, settings.mongo)
    return Stores(
        objects(settings),
        MongoCatalog(mongo),
        MongoRuns(mongo),
        MongoJobs(mongo),
        MongoKeys(mongo),
        MongoLeases(mongo),
    )


def queue(settings: Settings) -> Queue:
    """The transport to scoring workers: one supervised child process, or Celery on Redis."""
    if settings.queue:
        from shared.adapters.celery_queue import CeleryQueue

        return CeleryQueue(settings.queue)
    return ChildQueue(
        [sys.executable, "-m", "workers.scoring"],
        environment=COMPUTING | to_environment(settings),
        log=settings.home / "logs" / "scoring.log",
    )


def launcher(settings: Settings) -> Launcher:
    """What starts training and ingest processes: on this machine, or as Jobs of a cluster."""
    if settings.launcher.templates:
        from shared.adapters.kubernetes_jobs import KubernetesLauncher

        return KubernetesLauncher(Path(settings.launcher.templates))
    return SubprocessLauncher(settings.home / "processes", environment=COMPUTING | to_environment(settings))


def buckets(settings: Settings) -> Buckets:
    """Other buckets of the installation's S3 server, for dumps and weights that lie there."""

    def bucket(name: str) -> Objects:
        if not settings.objects:
            reason = "no S3 server is configured"
            raise BadInputError(f"s3://{name}", reason, remedy="set SHELVER_OBJECTS=s3://..., or name a file")
        return _s3(settings, name, "")

    return bucket


def _s3(settings: Settings, bucket: str, prefix: str) -> Objects:
    from shared.adapters.s3 import S3Objects

    return S3Objects(settings.s3, bucket, prefix)


def checks(stores: Stores, queue: Queue | None = None) -> dict[str, Check]:
    """What a service depends on, each by a cheap question; without a queue where the service uses none."""
    found: dict[str, Check] = {
        "documents": lambda: stores.leases.lease("readiness"),
        "objects": lambda: stores.objects.exists("readiness"),
    }
    return found if queue is None else found | {"queue": queue.check}


def left_files(settings: Settings, runs: Iterable[Run], now: float) -> Iterable[LeftFile]:
    """What died processes left beside the stores, `runs` being all there are; `now` in seconds since the epoch."""
    processes = {process_name(run) for run in runs if run.state != "complete"}
    return find_left_files(settings.home, processes, now=now, log_seconds=settings.retention.job_days * retention.DAY)


def holder(settings: Settings) -> str:
    """Who holds the embedded stores at this moment, in words; empty when nobody does."""
    return home_lock.holder(settings.home)


def exclusive(settings: Settings) -> AbstractContextManager[None]:
    """The embedded stores for this process alone. Raises FailedError when another one works there."""
    return home_lock.exclusive(settings.home)
