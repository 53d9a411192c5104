"""`shelver demo`: the whole way, from two dumps to a submission and its accuracy, on the sample photographs."""

import time
from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import app
from services.cli.driving import export_job, holdout_figures, read_source, run_job, train_ensemble
from services.cli.evaluating import evaluate_job, show_evaluation, write_page
from services.cli.results import Format
from services.cli.scoring import check_ended_well
from services.cli.session import Session
from services.cli.show import duration, remark, stdout
from services.cli.training import show_holdout
from services.ingest import IngestRequest
from shared import ensemble_file
from shared.domain.errors import BadInputError
from shared.job_requests import JobRequest

_CHUNK_IMAGES = 128  # so few pictures would be one chunk, and its progress would jump from nothing to all


@app.command()
def demo(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder of the sample catalog.")] = Path("examples/grocery"),
    ensemble: Annotated[Path, typer.Option(help="Ensemble file.")] = Path("ensembles/grocery-small.yaml"),
    output: Annotated[Path, typer.Option(help="Folder for the results and the stores.")] = Path("demo"),
) -> None:
    """Ingest, train, score and judge real photographs.

    What is complete already is skipped.

    Example: shelver demo
    """
    began = time.monotonic()
    for needed in (data / "train.bson", ensemble):
        if not needed.exists():
            raise BadInputError(str(needed), "there is no such file", remedy="run the demo in a checkout of Shelver")
    session: Session = context.obj
    session = Session(session.settings.in_home(output / "home"), session.place_of)
    resolved = ensemble_file.load(ensemble)
    with session.exclusive():
        categories = data / "category_names.csv"
        for name in ("train", "test"):
            intake = IngestRequest(source=str(data / f"{name}.bson"), dataset=name, categories=categories)
            manifest = read_source(session, intake)
            remark(f"dataset {name}: {manifest.products:,} products, {manifest.images:,} images")
        version = train_ensemble(session, resolved, "train")
        if version is not None:
            show_holdout(holdout_figures(session, version))
        # Decided products are scored too, so that the report can tell what the duplicates were worth.
        request = JobRequest(dataset="test", ensemble=resolved.name, skip_decided=False, chunk_images=_CHUNK_IMAGES)
        job = run_job(session, request)
        check_ended_well(job.id, job.state, job.error)
    rows = export_job(session, job, output / "submission.csv", Format.CSV.value)
    found = evaluate_job(session, job, data / "test_labels.csv")
    write_page(session, found, output / "report.html")
    show_evaluation(found)
    took = duration(time.monotonic() - began)
    words = f"{output}/submission.csv has {rows} rows, {output}/report.html the figures; {took} in all"
    stdout.print(words, markup=False)
