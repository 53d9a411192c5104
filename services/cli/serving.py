"""The verb up: all services in one process on embedded stores, so that a laptop has the API without any server."""

import secrets
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from services.cli.app import app
from services.cli.session import Session
from services.cli.show import remark
from services.dispatcher.service import Service as Dispatcher
from services.launcher.service import Service as Launcher
from shared import logs, wiring
from shared.settings import Settings

_GRACE_SECONDS = 4.0  # for the worker to hand back
Run = Callable[[threading.Event], None]


@app.command()
def up(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API.", show_default="8080")] = None,
) -> None:
    """Serve the API from this machine, without any server.

    Gateway, dispatcher, launcher and a worker.

    Ctrl-C ends it; jobs, trainings and ingests go on when it is started again.

    Example: shelver up --port 8765
    """
    session: Session = context.obj
    settings, stop = session.settings, threading.Event()
    gateway = replace(
        settings.gateway,
        port=port or settings.gateway.port,
        admin_key=settings.gateway.admin_key or _admin_key(settings),
    )
    with session.exclusive():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        logs.to_stderr(settings.telemetry.log_format)
        remark(f"http://{gateway.host}:{gateway.port}/docs tells what it takes; Ctrl-C ends it")
        serve(session, replace(settings, gateway=gateway), stop)


def serve(session: Session, settings: Settings, stop: threading.Event) -> None:
    """Run all services until `stop` is set, or until one of them fails, whose error is raised."""
    from services.gateway.service import Service as Gateway  # FastAPI would slow every other verb down

    stores, registry = session.stores, CollectorRegistry()
    session.reclaim()
    queue, processes = wiring.queue(settings), wiring.launcher(settings)
    launcher = Launcher(stores, processes, settings, registry)
    checks = {**launcher.checks(), **wiring.checks(stores, queue)}
    gateway = Gateway(stores, queue, wiring.buckets(settings), settings, registry, checks)
    dispatcher = Dispatcher(stores, queue, settings, registry)
    try:
        _together([gateway.run, dispatcher.run, launcher.run], stop)
    finally:
        queue.close(grace=_GRACE_SECONDS)


def _together(runs: Sequence[Run], stop: threading.Event) -> None:
    errors: list[BaseException] = []

    def one(run: Run) -> None:
        try:
            run(stop)
        except BaseException as error:
            errors.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=one, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    while not stop.wait(0.5):  # in slices, for signals
        pass
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _admin_key(settings: Settings) -> str:
    """The key of this home, made at the first start, in a file that its owner alone reads."""
    file: Path = settings.home / "admin.key"
    if not file.exists():
        settings.home.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32) + "\n")
    remark(f"the admin key is in {file}")
    return file.read_text().strip()
