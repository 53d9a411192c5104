"""The verb relabel."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, facts, progress, remark


@app.command()
def relabel(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset with a category table.")],
    labels: Annotated[
        Path, typer.Option(help="CSV with the columns _id and category_id; an empty category takes the label away.")
    ],
    name: Annotated[str, typer.Option("--as", metavar="NEW", help="Name of the new dataset.")],
    json: AsJson = False,
) -> None:
    """Correct labels: a new dataset over the same packs.

    Products that the CSV does not name keep their label.

    Example: shelver relabel test --labels examples/grocery/test_labels.csv --as judged
    """
    from services.ingest import relabel as relabelling

    session: Session = context.obj
    with session.exclusive(), progress(f"relabel {dataset}") as update:

        def report(done: int, total: int) -> None:
            update(done, total, f"{done // 2:,} products")

        found = relabelling.run(session.stores, dataset, labels, name, report)
    if found.skipped:
        remark(f"dataset {name} is complete already: skipped")
    manifest = found.manifest
    summary = {
        "dataset": name,
        "of": dataset,
        **asdict(found.changes),
        "products": manifest.products,
        "labelled": manifest.labelled,
        "fingerprint": manifest.fingerprint,
    }
    if json:
        as_json(summary)
    else:
        facts(summary)
