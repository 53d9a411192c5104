"""The verb ensembles: every version, and those whose weights come from elsewhere."""

import time
from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import AsJson, Session, app
from services.cli.show import as_json, stdout, table
from shared import ensemble_file
from shared.domain.errors import BadInputError
from shared.dumps import FileDump
from shared.ensemble_import import import_ensemble

ensembles = typer.Typer(invoke_without_command=True)
app.add_typer(ensembles, name="ensembles")


@ensembles.callback()
def every(context: typer.Context, json: AsJson = False) -> None:
    """List the ensemble versions.

    Example: shelver ensembles --json
    """
    if context.invoked_subcommand:
        return
    session: Session = context.obj
    runs = session.stores.runs
    versions = runs.versions()
    current = {version.name: runs.current(version.name) for version in versions}
    if json:
        as_json([v.plain() | {"current": current[v.name] == v.version} for v in versions])
        return
    table(
        ["ensemble", "version", "current", "members", "dataset"],
        [[v.name, v.version, "yes" if current[v.name] == v.version else "", len(v.runs), v.dataset] for v in versions],
        empty="no ensembles yet; `shelver train` makes one",
    )


@ensembles.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="ENSEMBLE_FILE", help="Its members name timm's networks.")],
    dataset: Annotated[str, typer.Option(help="Whose category table has the classes, in their order.")],
    weights: Annotated[
        list[str], typer.Option(metavar="MEMBER=FILE", help="A member's safetensors file; once per member.")
    ],
    current: Annotated[bool, typer.Option("--current/--no-current", help="Make it the current version.")] = True,
    json: AsJson = False,
) -> None:
    """Make a version from weights that were trained elsewhere.

    Nothing of the dataset judges it: what its weights have seen is not known.

    Example: shelver ensembles import ensembles/grocery-small.yaml --dataset train \\
      --weights resnet18=resnet18.safetensors --weights resnet10t=resnet10t.safetensors
    """
    session: Session = context.obj
    named = {member: FileDump(path) for member, path in map(_pair, weights)}
    if len(named) < len(weights):
        raise BadInputError("--weights", "a member is named twice", remedy="name one file per member")
    with session.exclusive():
        version = import_ensemble(
            session.stores, ensemble_file.load(file), dataset, named, move_current=current, now=time.time()
        )
    if json:
        as_json(version.plain())
    else:
        words = "is ready and current" if current else "is ready"
        stdout.print(f"ensemble {version.name}@{version.version} {words}", markup=False)


def _pair(text: str) -> tuple[str, Path]:
    member, equals, path = text.partition("=")
    if not member or not equals or not path:
        raise BadInputError("--weights", f"'{text}' is not MEMBER=FILE", remedy="such as resnet18=weights.safetensors")
    return member, Path(path)
