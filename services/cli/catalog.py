"""Verbs about datasets: ingest, datasets, split."""

from typing import Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, facts, stdout, table
from shared.ingest_requests import IngestOrder
from shared.packs import Manifest


@app.command()
def ingest(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A .bson or .bson.gz dump, - for standard input, a folder of class folders, or a CSV.")
    ],
    dataset: Annotated[str, typer.Option(help="Name of the new dataset.")],
    categories: Annotated[
        str, typer.Option(help="Category table (CSV); may be left out where no product has a category.")
    ] = "",
    allow_bad: Annotated[int, typer.Option(min=0, help="Leave out and record up to N bad documents.")] = 0,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; one per core by default.")] = None,
    json: AsJson = False,
) -> None:
    """Read a catalog into a dataset.

    Example: shelver ingest examples/grocery/train.bson --dataset train --categories examples/grocery/category_names.csv
    """
    session: Session = context.obj
    order = IngestOrder(source=source, dataset=dataset, categories=categories, allow_bad=allow_bad, processes=processes)
    manifest = session.place.ingest(order)
    if json:
        as_json(manifest.plain())
        return
    show_manifest(manifest)


def show_manifest(manifest: Manifest) -> None:
    """What an ingest made, for people."""
    facts(
        {
            "dataset": manifest.dataset,
            "products": manifest.products,
            "images": manifest.images,
            "labelled": manifest.labelled,
            "label sets": manifest.label_sets or "",
            "bytes": manifest.bytes,
            "packs": len(manifest.packs),
            "repeated": manifest.repeated,
            "unreadable images": manifest.unrecognised,
            "bad documents": len(manifest.bad),
            "fingerprint": manifest.fingerprint,
        }
    )
    for bad in manifest.bad:
        stdout.print(f"  left out at offset {bad.offset}: {bad.reason}", markup=False)


@app.command()
def datasets(context: typer.Context, json: AsJson = False) -> None:
    """List the datasets.

    Example: shelver datasets --json
    """
    session: Session = context.obj
    found = session.place.datasets()
    if json:
        as_json([dataset.plain() for dataset in found])
        return
    table(
        ["name", "products", "images", "labelled", "bad", "fingerprint"],
        [[d.name, d.products, d.images, d.labelled, d.bad, d.fingerprint[:16]] for d in found],
        empty="no datasets yet; `shelver ingest` makes one",
    )
