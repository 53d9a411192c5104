"""The verb plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import planning
from services.cli.app import AsJson, app
from services.cli.measuring import Measured
from services.cli.session import Session
from services.cli.show import as_json, facts, remark, stdout, table
from shared import ensemble_file
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.errors import BadInputError, NotFoundError
from shared.ports import Runs

_FILES = Path("ensembles")


@app.command()
def plan(
    context: typer.Context,
    products: Annotated[int, typer.Option(min=1, metavar="N", help="Products of the catalog.")],
    images: Annotated[int, typer.Option(min=1, metavar="N", help="Images of all of them.")],
    ensemble: Annotated[str, typer.Option(metavar="NAME", help="NAME, NAME@VERSION or an ensemble file.")],
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="How many work at once.")] = 1,
    json: AsJson = False,
) -> None:
    """Say what a catalog takes: time, storage, messages and rows.

    By what this home has measured: runs and their cards, jobs, ingests. What it has not is named, with what does.

    Example: shelver plan --products 7069896 --images 12371293 \\
        --ensemble grocery-small --gpus 8
    """
    session: Session = context.obj
    if images < products:
        reason = f"{images} images are too few for {products} products"
        raise BadInputError("--images", reason, remedy="each product has one at least")
    stores = session.stores
    wanted = find(stores.runs, ensemble)
    found = planning.plan(Measured(stores), session.settings, wanted, products, images, gpus)
    if json:
        as_json(found)
    else:
        _show(found)


def find(runs: Runs, name: str) -> Ensemble:
    """An ensemble file, a version, or the file of that name in `ensembles/`. Raises BadInputError."""
    if Path(name).suffix in (".yaml", ".yml"):
        return ensemble_file.load(Path(name))
    asked, _, version = name.partition("@")
    try:
        return from_plain(runs.version(asked, version).document)
    except NotFoundError:
        if (file := _FILES / f"{name}.yaml").exists():
            return ensemble_file.load(file)
        raise BadInputError("--ensemble", f"there is no ensemble '{name}'", remedy="name its file") from None


def _show(found: Mapping[str, Any]) -> None:
    ingest, training, scoring, export = (found[stage] for stage in ("ingest", "training", "scoring", "export"))
    on_all = f"on {found['gpus']} GPU{'s' * (found['gpus'] > 1)}"
    table(
        ["member", "network", "pixels", "after", "epochs", "images", "GPU-hours to train", "to score", "measured on"],
        [
            [
                *(one[name] for name in ("member", "model", "pixels", "parent", "epochs", "training_images")),
                _hours(one["seconds"]),
                _hours(one["scoring_seconds"]),
                one["measured"] or "nothing",
            ]
            for one in training["members"]
        ],
        empty="no members",
    )
    facts(
        {
            "ingest": f"{_hours(ingest['seconds'])} hours; {_bytes(ingest['bytes'])} in {_number(ingest['packs'])} "
            f"packs, {_bytes(ingest['index_bytes'])} of indexes, {_bytes(ingest['table_bytes'])} of duplicate tables, "
            f"{ingest['rows']:,} rows in {_bytes(ingest['row_bytes'])}",
            "training": f"{_hours(training['gpu_seconds'])} GPU-hours, {_days(training['seconds'])} {on_all}, "
            f"{_days(training['longest_chain_seconds'])} on any number; {_bytes(training['bytes'])} of runs, "
            f"{_bytes(training['bytes_while_training'])} more meanwhile",
            "scoring": f"{_hours(scoring['gpu_seconds'])} GPU-hours ({_hours(scoring['gpu_seconds_by_cards'])} by the "
            f"members' cards), {_days(scoring['seconds'])} {on_all}; {scoring['chunks']:,} chunks in "
            f"{scoring['messages']:,} messages, {scoring['rows']:,} outcomes in {_bytes(scoring['bytes'])}",
            "each worker": f"{_bytes(scoring['weights_bytes'])} of weights, {_bytes(scoring['device_bytes'])} of the "
            f"device's memory, {_number(scoring['decoding_cores_per_gpu'])} cores that decode",
            "each training": f"{_bytes(training['process_bytes'])} of memory at most",
            "export": f"{_hours(export['seconds'])} hours; {export['rows']:,} rows, {_bytes(export['bytes'])} as CSV",
        }
    )
    stdout.print("\nmeasured:" if found["measured"] else "\nnothing is measured here yet")
    facts({f"  {name}": source for name, source in found["measured"].items()})
    stdout.print("\nnot measured, and what does it:")
    facts({f"  {name}": remedy for name, remedy in found["not_measured"].items()})
    if planning.on_cpu(found):
        remark("networks were measured on a CPU: their hours are those of such a CPU, not of a GPU")


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _hours(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds / 3600:,.1f}"


def _days(seconds: float | None) -> str:
    return "? days" if seconds is None else f"{seconds / 86400:,.1f} days"


def _bytes(size: float | None) -> str:
    return "? bytes" if size is None else f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
