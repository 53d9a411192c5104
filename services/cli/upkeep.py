"""Verbs that keep a home in order: rm, doctor."""

from enum import StrEnum
from typing import Annotated

import typer

from services.cli import checks
from services.cli.app import AsJson, Session, app
from services.cli.show import as_json, stdout
from shared import removal


class Kind(StrEnum):
    """What `rm` removes."""

    DATASET = "dataset"
    RUN = "run"
    JOB = "job"


@app.command()
def rm(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="Its name or id.")],
) -> None:
    """Remove a dataset, run or job; refused while something else uses it.

    Example: shelver rm job 0123456789abcdef
    """
    session: Session = context.obj
    stores = session.stores
    with session.exclusive():
        if kind is Kind.DATASET:
            removal.remove_dataset(stores.objects, stores.catalog, stores.runs, stores.jobs, name)
        elif kind is Kind.RUN:
            removal.remove_run(stores.objects, stores.runs, name)
        else:
            removal.remove_job(stores.objects, stores.jobs, name)
    stdout.print(f"{kind} {name} is removed", markup=False)


@app.command()
def doctor(context: typer.Context, json: AsJson = False) -> None:
    """Check every store, the device and the versions, and say what to do.

    Example: shelver doctor
    """
    session: Session = context.obj
    found = checks.all_checks(session.settings)
    if json:
        as_json([check.plain() for check in found])
    else:
        for check in found:
            mark = "[green]ok[/]" if check.ok else "[red]no[/]"
            stdout.print(f"{mark}  {check.name:<16} {check.words}")
            if not check.ok:
                stdout.print(f"    -> {check.remedy}", style="yellow", markup=False)
    if not all(check.ok for check in found):
        raise typer.Exit(1)
