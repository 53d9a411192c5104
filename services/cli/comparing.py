"""The verb that judges what an ensemble could do otherwise: `compare`."""

import csv
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.files import check_target, whole
from services.cli.session import Session
from services.cli.show import as_json, stdout, table
from shared.domain.errors import BadInputError
from shared.domain.records import EnsembleVersion

if TYPE_CHECKING:  # its libraries are slow to import, and this verb's alone
    from services.reports.comparison import Comparison, Row


@app.command()
def compare(
    context: typer.Context,
    ensemble: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    dataset: Annotated[str, typer.Option(help="Its newest version that was trained on this dataset.")] = "",
    combination: Annotated[
        str, typer.Option(help="Only its members, on the products they held out.", show_default="the last")
    ] = "",
    figures: Annotated[Path | None, typer.Option("--csv", help="Also write every figure as CSV.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page.")] = None,
    json: AsJson = False,
) -> None:
    """Judge all that an ensemble could do otherwise on its holdout.

    By the stored scores of its trainings: no network runs.

    Example: shelver compare grocery-small --dataset train
    """
    from services.reports import comparison, pages

    session: Session = context.obj
    for output in (figures, html):
        if output is not None:
            check_target(output)
    version = find_version(session, ensemble, dataset)
    found = comparison.compare(session.stores.objects, version, chosen_combination(version, combination))
    if figures is not None:
        _write_csv(found, figures)
    if html is not None:
        with whole(html) as file:
            file.write(pages.render("comparison.html.j2", found=found).encode())
    if json:
        as_json(found.plain())
    else:
        _show(found)


def find_version(session: Session, ensemble: str, dataset: str) -> EnsembleVersion:
    """The version of NAME or NAME@VERSION: with a dataset, NAME's newest that was trained on it."""
    runs = session.stores.runs
    name, _, wanted = ensemble.partition("@")
    version = runs.version(name, wanted)
    if not dataset or version.dataset == dataset:
        return version
    of_dataset = [] if wanted else [one for one in runs.versions(name) if one.dataset == dataset]
    if not of_dataset:
        reason = f"{name}@{version.version} was trained on '{version.dataset}', and holdout scores are of that one"
        raise BadInputError("--dataset", reason, remedy=f"use --dataset {version.dataset}, or train it on '{dataset}'")
    return of_dataset[-1]


def chosen_combination(version: EnsembleVersion, asked: str) -> str:
    """The combination asked for, the file's default where none is."""
    known = list(version.document["combinations"])
    if asked and asked not in known:
        raise BadInputError("--combination", f"there is no '{asked}'", remedy=f"one of {', '.join(known)}")
    return asked or known[-1]


def _write_csv(found: "Comparison", output: Path) -> None:
    with whole(output) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows(found.lines())
        text.detach()


def _show(found: "Comparison") -> None:
    for one in found.tables:
        stdout.print(f"\n{one.title}", markup=False)
        table(
            ["", "all", "new products", "seen products", "against the reference"],
            [[row.name, row.all, row.new, row.seen, _gain(row)] for row in one.rows],
            empty="",
        )
    figure = "micro F1" if found.task == "multilabel" else "accuracy"
    stdout.print(
        f"\n{figure} of {found.products:,} products of {found.dataset} that every member held out;", markup=False
    )
    stdout.print(f"the reference: {found.reference}", markup=False)
    if found.undecodable:
        stdout.print(f"{found.undecodable:,} more have no picture that can be decoded", markup=False)


def _gain(row: "Row") -> str:
    gain = row.difference
    return f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" if gain else "the reference"
