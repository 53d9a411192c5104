"""Verbs about ensembles: split, check, train, ensembles."""

import subprocess
import sys
from collections.abc import Mapping
from importlib import util
from json import dumps as render_json
from json import loads as parse_json
from pathlib import Path
from typing import Annotated, Any

import typer

from services import launcher as launcher_service
from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, facts, remark, stdout, table
from shared import ensemble_file
from shared.domain.ensemble import Ensemble, Split
from shared.domain.errors import BadInputError, FailedError
from shared.domain.intervals import Accuracy

_LOW_SHARE = 0.5  # below it a warm start says little


@app.command()
def split(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset with categories.")],
    seed: Annotated[int, typer.Option(help="Seed of the division.")],
    holdout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the products set aside.")],
    drop_duplicate_images: Annotated[
        bool, typer.Option("--drop-duplicate-images", help="Keep the first of equal images in each part.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Divide a dataset by product and write its duplicate tables.

    Example: shelver split train --seed 1 --holdout 0.1
    """
    session: Session = context.obj
    division = Split(seed=seed, holdout=holdout, drop_duplicate_images=drop_duplicate_images)
    parts = launcher_service.prepare_split(session.stores, dataset, division)
    summary = {"dataset": dataset, "split": division.digest, **parts}
    if json:
        as_json(summary)
    else:
        facts(summary)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="An ensemble file.")],
    json: AsJson = False,
) -> None:
    """Validate an ensemble file and show what it resolves to.

    Example: shelver check ensembles/grocery-small.yaml
    """
    ensemble = ensemble_file.load(file)
    shares = warm_shares(ensemble)
    for member, share in shares.items():
        if share < _LOW_SHARE:
            parent = ensemble.members[member].init.name
            remark(f"{member} starts from {parent}, whose weights fill {share:.0%} of it: the rest starts at random")
    if json:
        as_json(ensemble.plain())
        return
    show_ensemble(ensemble, shares)


def warm_shares(ensemble: Ensemble) -> dict[str, float]:
    """Per member that starts from another: the share of its network that this one fills.

    Nothing where torch is not installed, as on service machines. Raises BadInputError where a network cannot be
    built, and FailedError.
    """
    if not util.find_spec("torch") or not any(m.init.kind == "member" for m in ensemble.members.values()):
        return {}
    asked = subprocess.run(
        [sys.executable, "-m", "workers.vision.shares"],
        input=render_json(ensemble.plain()),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if asked.returncode == 2:
            raise BadInputError(f"ensemble {ensemble.name}", last, remedy="use another network, or its own head")
        raise FailedError(f"the networks cannot be compared: {last}")
    found: dict[str, float] = parse_json(asked.stdout)
    return found


def show_ensemble(ensemble: Ensemble, shares: Mapping[str, float] | None = None) -> None:
    """An ensemble file for people: a line per member, then what is averaged and combined. `shares` are those of warm
    starts."""
    filled = {name: f", {share:.0%} of it" for name, share in (shares or {}).items()}
    table(
        ["member", "network", "pixels", "split", "epochs", "batch", "optimizer", "starts from"],
        [
            [
                m.name,
                m.model,
                m.input.size,
                m.split.digest[:8],
                m.epochs,
                m.batch_size,
                m.optimizer,
                f"{m.init.kind} {m.init.name}".strip() + filled.get(m.name, ""),
            ]
            for m in ensemble.members.values()
        ],
        empty="no members",
    )
    facts(
        {
            "views": ", ".join(ensemble.views),
            "order of means": ", ".join(ensemble.means.order),
            **{f"combination {name}": ", ".join(members) for name, members in ensemble.combinations.items()},
            "duplicates": f"images {ensemble.image_duplicates}, products {ensemble.product_duplicates}",
        }
    )


@app.command()
def train(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="ENSEMBLE_FILE", help="An ensemble file.")],
    dataset: Annotated[str, typer.Option(help="The dataset to train on.")],
    member: Annotated[
        list[str] | None, typer.Option(help="Only this member (and what it starts from); may be repeated.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Train the members of an ensemble; skips what is complete.

    Example: shelver train ensembles/grocery-small.yaml --dataset train
    """
    session: Session = context.obj
    ensemble = ensemble_file.load(file)
    found = session.place.train(ensemble, dataset, member)
    if json:
        as_json(found)
    elif found["version"] is None:
        stdout.print(f"the asked members are trained; train the others for a version of {ensemble.name}")
    else:
        show_holdout(found["holdout"])
        stdout.print(f"ensemble {ensemble.name}@{found['version']} is ready and current", markup=False)


def show_holdout(figures: dict[str, Any]) -> None:
    """Accuracy on products that were not trained on; `seen`: they share an image with one that was."""
    table(
        ["member", "images", "new products", "seen products"],
        [
            [
                member,
                *(
                    Accuracy.from_plain(part)
                    for part in (found["images"], found["products"]["new"], found["products"]["seen"])
                ),
            ]
            for member, found in figures.items()
        ],
        empty="nothing was held out",
    )
