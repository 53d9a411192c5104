"""The typer application: options of every verb, and where it works then."""

from collections.abc import Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from services.cli.place import Place
from services.cli.session import Session
from shared.settings import examine

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


def _place(session: Session) -> Place:
    if session.server:
        from services.cli.client import Client  # httpx2 would slow every other verb down
        from services.cli.there import There

        return There(session.leaving.enter_context(closing(Client(session.server, session.key))))
    from services.cli.here import Here

    return Here(session)


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
    context.obj = Session(settings.in_home(home) if home else settings, _place, faults, verb, server, key)
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
