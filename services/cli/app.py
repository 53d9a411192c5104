"""The typer application and what its verbs share: the settings and stores of one invocation."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.show import remark
from shared import wiring
from shared.domain.errors import BadInputError
from shared.job_requests import reclaim
from shared.leadership import DISPATCHER, LAUNCHER, vacate
from shared.ports import Stores
from shared.settings import Settings, examine

if TYPE_CHECKING:
    from services.cli.place import Place

app = typer.Typer(
    help="Sorts product photographs into a shop's category tree.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,  # its two options would take more of the screen than any verb
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


_ANYWHERE = ("--home", "--server", "--key")
"""Options of every verb, each with a value."""


@dataclass
class Session:
    """One invocation: the stores of a home, opened once a verb needs them, or the gateway that it asks instead."""

    home_settings: Settings
    faults: Sequence[BadInputError] = ()
    """What is wrong with the settings of the environment: only `doctor` goes on in spite of it."""
    verb: str = ""
    server: str = ""
    """Address of a gateway; empty: the home."""
    key: str = field(default="", repr=False)
    leaving: ExitStack = field(default_factory=ExitStack)
    """What is open until the verb ends."""

    @property
    def settings(self) -> Settings:
        """The settings of the home. Raises BadInputError where a server is asked, which has a home of its own."""
        if self.server:
            raise BadInputError(
                "--server",
                f"`{self.verb}` works on the stores of this machine only",
                remedy="leave --server out and unset SHELVER_SERVER; a server's stores are reached beside it, as by "
                f"`kubectl exec deployment/shelver-worker-default -- shelver {self.verb}`",
            )
        return self.home_settings

    @cached_property
    def place(self) -> "Place":
        """Where the verbs work that a gateway knows too."""
        if self.server:
            from services.cli.client import Client  # httpx2 would slow every other verb down
            from services.cli.there import There

            return There(self.leaving.enter_context(closing(Client(self.server, self.key))))
        from services.cli.here import Here

        return Here(self)

    @cached_property
    def stores(self) -> Stores:
        """All stores, opened on first use."""
        self._check_home()
        return wiring.stores(self.settings)

    def exclusive(self) -> AbstractContextManager[None]:
        """The home for this process alone."""
        self._check_home()
        return wiring.exclusive(self.settings)

    def remark_if_idle(self, verb: str) -> None:
        """Say that what is stored as running was interrupted, if no process works in the home."""
        if not self.settings.catalog and not wiring.holder(self.settings):
            remark(f"nobody works here now: what is running was interrupted, and the same `shelver {verb}` goes on")

    def reclaim(self) -> None:
        """Take back what died processes held, where the home is all: on servers, other machines may hold it."""
        if not self.settings.catalog:
            reclaim(self.stores.jobs)
            for service in (DISPATCHER, LAUNCHER):
                vacate(self.stores.leases, service)

    def _check_home(self) -> None:
        home = self.settings.home
        remedy = "name a folder that can be written, with --home DIR or SHELVER_HOME"
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"no stores can be kept there: {error.strerror or error}"
            raise BadInputError(str(home), reason, remedy=remedy) from None
        if not os.access(home, os.W_OK | os.X_OK):
            raise BadInputError(str(home), "no stores can be kept there: it is read-only", remedy=remedy)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"shelver {metadata.version('shelver')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of stores (shelver-data); or SHELVER_HOME.", show_default=False),
    ] = None,
    server: Annotated[
        str,
        typer.Option(
            envvar="SHELVER_SERVER", show_envvar=False, metavar="URL", help="A gateway to ask; or SHELVER_SERVER."
        ),
    ] = "",
    key: Annotated[
        str, typer.Option(envvar="SHELVER_KEY", show_envvar=False, metavar="KEY", help="Its API key; or SHELVER_KEY.")
    ] = "",
    version: Annotated[  # noqa: ARG001 - its callback answers and leaves
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Sorts product photographs into a shop's category tree."""
    settings, faults = examine()
    if faults and context.invoked_subcommand != "doctor":
        raise faults[0]
    verb = context.invoked_subcommand or ""
    context.obj = Session(settings.in_home(home) if home else settings, faults, verb, server, key)
    context.with_resource(context.obj.leaving)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--home DIR` and its like in front, wherever they stood: verbs need not repeat the options."""
    front: list[str] = []
    rest: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--":
            rest += [argument, *given]
        elif argument in _ANYWHERE:
            front += [argument, *[value for value in [next(given, None)] if value is not None]]
        elif argument.startswith(tuple(f"{option}=" for option in _ANYWHERE)):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def application(arguments: Sequence[str], *, prog_name: str) -> None:
    """Run one command line; leaves by SystemExit. A function, so that the verbs are registered first."""
    app(args=list(arguments), prog_name=prog_name)
