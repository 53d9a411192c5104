"""Verbs about what a job found: export, predict."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, duration, stdout, table
from shared.domain.errors import BadInputError

_BEST = 5  # categories that people are shown


class Format(StrEnum):
    """What `export` writes."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


@app.command()
def export(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="A scoring job.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; - for standard output.")],
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="csv is a submission: _id,category_id(s); of a fit also decision,decision_path.")
    ] = Format.CSV,
    combination: Annotated[
        str | None, typer.Option(help="Whose answers; the ensemble's last combination by default.")
    ] = None,
    fill: Annotated[
        int | None, typer.Option(help="Category of products without an answer; without it they are refused.")
    ] = None,
) -> None:
    """Write a job's answers, one row per product in dump order.

    Example: shelver export 0123456789abcdef --format csv -o submission.csv
    """
    session: Session = context.obj
    count = session.place.export(job, output, format.value, combination, fill)
    if str(output) != "-":
        stdout.print(f"{count:,} rows in {output}", markup=False)


@app.command()
def predict(
    context: typer.Context,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="The images of one product.")],
    ensemble: Annotated[str, typer.Option(help="NAME or NAME@VERSION.")],
    json: AsJson = False,
) -> None:
    """Categorise one product now from its image files.

    Example: shelver predict examples/grocery/apple.jpg --ensemble grocery-small
    """
    session: Session = context.obj
    answer = session.place.predict(ensemble, [_read(path) for path in image])
    if json:
        as_json(answer)
    else:
        _show_answer(answer)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", remedy="name image files") from None


def _show_answer(answer: dict[str, Any]) -> None:
    prediction = answer["predictions"][answer["combination"]]
    labels = prediction.get("labels")
    best = labels or prediction["top"][:_BEST]
    if labels == []:
        stdout.print("no label is probable enough; the best ones:", markup=False)
    table(
        ["category", "name", "probability"],
        [[str(one["category_id"]), " / ".join(one["path"]), f"{one['probability']:.4f}"] for one in best],
        empty="no answer",
    )
    if prediction.get("decision"):  # a gateway of before has none
        path = " / ".join(prediction.get("decision_path") or ())
        stdout.print(f"decision: {prediction['decision']}" + (f", {path}" if path else ""), markup=False)
    stdout.print(f"source: {answer['source']}, {duration(answer['seconds'])} ({answer['seconds']:.3f} s)", markup=False)
