"""The typer application and what its verbs share: the settings and stores of one invocation."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from services.cli.show import remark
from shared import wiring
from shared.domain.errors import BadInputError
from shared.ports import Stores
from shared.settings import Settings, examine

app = typer.Typer(
    help="Sorts product photographs into a shop's category tree.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@dataclass
class Session:
    """One invocation: its settings, and its stores once a verb needs them."""

    settings: Settings
    faults: Sequence[BadInputError] = ()
    """What is wrong with the settings of the environment: only `doctor` goes on in spite of it."""

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
        if not wiring.holder(self.settings):
            remark(f"nobody works here now: what is running was interrupted, and the same `shelver {verb}` goes on")

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
        typer.Option(help="Folder of the stores; or SHELVER_HOME.", show_default="shelver-data"),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback answers and leaves
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Sorts product photographs into a shop's category tree."""
    settings, faults = examine()
    if faults and context.invoked_subcommand != "doctor":
        raise faults[0]
    context.obj = Session(settings.in_home(home) if home else settings, faults)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--home DIR` in front, wherever it stood: verbs need not repeat the option."""
    front: list[str] = []
    rest: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--":
            rest += [argument, *given]
        elif argument == "--home":
            front += [argument, *[value for value in [next(given, None)] if value is not None]]
        elif argument.startswith("--home="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def application(arguments: Sequence[str], *, prog_name: str) -> None:
    """Run one command line; leaves by SystemExit. A function, so that the verbs are registered first."""
    app(args=list(arguments), prog_name=prog_name)
