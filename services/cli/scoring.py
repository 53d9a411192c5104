"""Verbs about scoring jobs: score, jobs, cancel."""

from typing import Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, facts, remark, stdout, table
from shared.domain import states
from shared.domain.errors import BadInputError, FailedError, NotFoundError
from shared.job_requests import JobRequest

_ERRORS = 10  # shown of one job


@app.command()
def score(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset to categorise.")],
    ensemble: Annotated[str, typer.Option(metavar="NAME", help="NAME or NAME@VERSION.")],
    duplicates: Annotated[
        str | None,
        typer.Option(metavar="I[,P]", help="Policies for images and products, such as unique,none."),
    ] = None,
    skip_decided: Annotated[
        bool,
        typer.Option("--skip-decided/--no-skip-decided", help="Skip the networks where duplicates decide."),
    ] = True,
    chunk_images: Annotated[int, typer.Option(min=1, metavar="N", help="Images per chunk, about.")] = 4096,
    keep_scores: Annotated[
        bool, typer.Option("--keep-scores", help="Keep the top 64 probabilities per product.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="JOB", help="Copy its answers for products that have not changed.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Categorise a dataset as a job; equal arguments go on with it.

    Example: shelver score test --ensemble grocery-small
    """
    session: Session = context.obj
    images, products = _policies(duplicates)
    request = JobRequest(
        dataset=dataset,
        ensemble=ensemble,
        image_duplicates=images,
        product_duplicates=products,
        skip_decided=skip_decided,
        chunk_images=chunk_images,
        keep_scores=keep_scores,
        since=since,
    )
    found = session.place.score(request)
    if json:
        as_json(found)
    else:
        facts(found)
    check_ended_well(found["job"], found["state"], found["error"])
    if since and not found["copied"]:
        remark(
            f"nothing was copied: job {since} has no product of the same id and images, or an earlier release made it"
        )


def check_ended_well(job: str, state: str, error: str) -> None:
    """Raise FailedError for a job that failed or was cancelled: not every product has its outcome."""
    if state not in states.ANSWERED:
        raise FailedError(f"job {job} is {state}" + (f": {error}" if error else ""))


def _policies(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    images, comma, products = text.partition(",")
    if not images or (comma and not products):
        raise BadInputError("--duplicates", f"'{text}' is not IMAGES[,PRODUCTS]", remedy="such as unique,none")
    return images, products or ("none" if images == "none" else None)


@app.command()
def jobs(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="Only this job.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    json: AsJson = False,
) -> None:
    """List the scoring jobs, or show one.

    Example: shelver jobs --json
    """
    session: Session = context.obj
    place = session.place
    if job is None:
        if watch:
            raise BadInputError("--watch", "follows one job", remedy="name it: shelver jobs JOB --watch")
        rows = [{"id": row["job"], **row} for row in place.jobs()]
        if json:
            as_json(rows)
        else:
            columns = ["id", "state", "dataset", "ensemble", "products", "done", "failed"]
            table(columns, [[row[c] for c in columns] for row in rows], empty="no jobs yet; `shelver score` makes one")
        return
    if watch:
        place.watch(job)
    found = place.job(job)
    if json:
        as_json({"id": found["job"], **found})
    else:
        facts(found)
        for product, error in place.errors(job, _ERRORS):
            stdout.print(f"  product {product}: {error}", markup=False)


@app.command()
def cancel(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A job or training that has not ended.")],
) -> None:
    """Stop a job or a training; what is done so far stays.

    Example: shelver cancel 0123456789abcdef
    """
    session: Session = context.obj
    kind, state = _cancelled(session, name)
    words = "is being cancelled by the process that runs it" if state == "cancelling" else f"is {state}"
    stdout.print(f"{kind} {name} {words}", markup=False)


def _cancelled(session: Session, name: str) -> tuple[str, str]:
    """What it is that was cancelled, and its state then."""
    try:
        return "job", session.place.cancel(name)
    except NotFoundError as no_job:
        try:
            return "training", session.place.cancel_training(name)
        except NotFoundError:
            raise no_job from None
