"""Verbs that keep a home in order: rm, gc, doctor."""

import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from services.cli import garbage
from services.cli.app import AsJson, app
from services.cli.diagnosis import diagnose
from services.cli.session import Session
from services.cli.show import as_json, stdout, table
from shared.retention import Garbage


class Kind(StrEnum):
    """What `rm` removes."""

    DATASET = "dataset"
    RUN = "run"
    JOB = "job"
    ENSEMBLE = "ensemble"
    TRAINING = "training"


@app.command()
def rm(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="Its name or id; NAME@VERSION of an ensemble.")],
) -> None:
    """Remove something; refused while something else uses it.

    `rm training` gives up an interrupted training: its complete runs stay, the others are cancelled.

    Example: shelver rm job 0123456789abcdef
    """
    session: Session = context.obj
    session.place.remove(kind.value, name)
    stdout.print(f"{kind} {name} is removed", markup=False)


@app.command()
def gc(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; without, only show.")] = False,
    json: AsJson = False,
) -> None:
    """Show what can go: old jobs, runs that nothing uses, leftovers.

    Nothing that an ensemble version or anything unfinished needs goes, nor a version itself. How long the rest is kept:
    SHELVER_RETENTION_JOB_DAYS (90), _RUN_DAYS (30), _UPLOAD_DAYS (1).

    Example: shelver gc
    """
    session: Session = context.obj
    if apply:
        with session.exclusive():
            found = garbage.remove(garbage.find(session.settings, session.stores, time.time()))
    else:
        found = garbage.find(session.settings, session.stores, time.time())
    if json:
        as_json({"applied": apply, "bytes": _bytes(found), "garbage": [_plain(one) for one in found]})
    else:
        _show(found, applied=apply)


def _plain(one: Garbage) -> dict[str, Any]:
    return {"kind": one.kind, "name": one.name, "why": one.why, "bytes": one.bytes, "removable": one.remove is not None}


def _bytes(found: Iterable[Garbage]) -> int:
    return sum(one.bytes for one in found if one.remove)


def _show(found: Sequence[Garbage], *, applied: bool) -> None:
    from services.reports.pages import size  # Jinja2 would slow every other verb down

    columns = ["kind", "name", "why", "size"]
    for title, shown in (
        ("", [one for one in found if one.remove]),
        ("Left to a person:", [one for one in found if not one.remove]),
    ):
        if shown and title:
            stdout.print(title)
        if shown:
            table(columns, [[one.kind, one.name, one.why, size(one.bytes)] for one in shown], empty="")
    removable = sum(one.remove is not None for one in found)
    if not removable:
        stdout.print("there is nothing to remove")
    else:
        total = f"{removable:,} to remove, {size(_bytes(found))}"
        words = (
            f"{removable:,} removed, {size(_bytes(found))}" if applied else f"{total}; do it with `shelver gc --apply`"
        )
        stdout.print(words)


@app.command()
def doctor(context: typer.Context, json: AsJson = False) -> None:
    """Check the machine, the home and all in it, and say what to do.

    Changes nothing. Exit code 0: all is well, 1: something needs mending.

    Example: shelver doctor
    """
    session: Session = context.obj
    found = list(diagnose(session.settings, session.faults, time.time()))
    if json:
        as_json([check.plain() for check in found])
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            mark = "[green]ok[/]" if check.ok else "[red]no[/]"
            stdout.print(f"{mark}  {escape(f'{check.name:<{width}}  {check.words}')}")
            if check.remedy:
                stdout.print(f"    -> {check.remedy}", style="" if check.ok else "yellow", markup=False)
    if not all(check.ok for check in found):
        raise typer.Exit(1)
