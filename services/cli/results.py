"""Verbs about what a job found: export, predict."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.app import AsJson, Session, app
from services.cli.files import whole
from services.cli.show import as_json, duration, stdout, table
from shared import exports
from shared.domain import states
from shared.domain.ensemble import from_plain
from shared.domain.errors import BadInputError
from shared.domain.records import EnsembleVersion, Job
from shared.packs import read_manifest, read_taxonomy

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


def export_job(
    session: Session, job: Job, output: Path, form: str, combination: str | None = None, fill: int | None = None
) -> int:
    """Write the file and return its number of rows; it appears whole or not at all."""
    if fill is None:
        check_ended(job)
    stores = session.stores
    version = stores.runs.version(job.ensemble, job.version)
    taxonomy = read_taxonomy(stores.objects, version.dataset)
    name = _known_combination(version, combination)
    if fill is not None and fill not in taxonomy.category_ids:
        raise BadInputError("--fill", f"category {fill} is not in the category table", remedy="name one of its ids")
    manifest = read_manifest(stores.objects, job.dataset)
    found = exports.answers(stores.objects, stores.jobs, manifest, job, name, fill)
    with whole(output) as file:
        return exports.write(found, name, taxonomy, form, file, version)


def check_ended(job: Job) -> None:
    """Raise BadInputError for a job that still runs."""
    if job.state in states.UNFINISHED:
        remedy = "run the same `shelver score` to its end first"
        raise BadInputError(f"job {job.id}", f"it is {job.state}: not every product has its answer", remedy=remedy)


def _known_combination(version: EnsembleVersion, asked: str | None) -> str:
    ensemble = from_plain(version.document)
    if asked is not None and asked not in ensemble.combinations:
        known = ", ".join(ensemble.combinations)
        raise BadInputError("--combination", f"'{asked}' is not in the ensemble", remedy=f"it has {known}")
    return asked or ensemble.default_combination


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
