"""The verb ensembles: every version, and those whose weights come from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, facts, stdout, table
from services.cli.training import show_ensemble
from shared import ensemble_file
from shared.domain import fits
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError

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
    found = session.place.versions()
    if json:
        as_json(found)
        return
    table(
        ["ensemble", "version", "current", "members", "fitted", "dataset"],
        [
            [
                v["name"],
                v["version"],
                "yes" if v["current"] else "",
                len(v["runs"]),
                ", ".join(v["fitted"]),
                v["dataset"],
            ]
            for v in found
        ],
        empty="no ensembles yet; `shelver train` makes one",
    )


@ensembles.command("show")
def show(
    context: typer.Context,
    ensemble: Annotated[str, typer.Argument(metavar="NAME", help="NAME or NAME@VERSION.")],
    json: AsJson = False,
) -> None:
    """Show an ensemble version: its members, runs and combinations.

    Example: shelver ensembles show grocery-small
    """
    session: Session = context.obj
    version, current = session.place.version(ensemble)
    if json:
        as_json(version.plain() | {"current": current})
        return
    facts(
        {
            "ensemble": version.name,
            "version": version.version,
            "current": "yes" if current else "no",
            "dataset": version.dataset,
            "fitted": "; ".join(_fitted(*fit) for fit in version.fits.items()),
            "weights": "from elsewhere" if version.imported else "trained here",
            **{f"run of {member}": run for member, run in version.runs.items()},
        }
    )
    show_ensemble(from_plain(version.document))


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
    named = dict(map(_pair, weights))
    if len(named) < len(weights):
        raise BadInputError("--weights", "a member is named twice", remedy="name one file per member")
    version = session.place.import_version(ensemble_file.load(file), dataset, named, current=current)
    if json:
        as_json(version.plain())
    else:
        words = "is ready and current" if current else "is ready"
        stdout.print(f"ensemble {version.name}@{version.version} {words}", markup=False)


def _fitted(combination: str, fit: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, [combination, fits.from_plain(fit).words()]))


def _pair(text: str) -> tuple[str, str]:
    member, equals, path = text.partition("=")
    if not member or not equals or not path:
        raise BadInputError("--weights", f"'{text}' is not MEMBER=FILE", remedy="such as resnet18=weights.safetensors")
    return member, path
