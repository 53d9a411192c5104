"""The verb that fits how members count, and thresholds, of an ensemble: `fit`."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.comparing import chosen_combination, find_version
from services.cli.session import Session
from services.cli.show import as_json, stdout, table
from shared import ensemble_versions
from shared.domain.fits import DECISIONS, Fit

if TYPE_CHECKING:  # its libraries are slow to import
    from services.reports.fitted import Decided, Fitted

_LISTED = 10


@app.command()
def fit(
    context: typer.Context,
    ensemble: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    dataset: Annotated[str, typer.Option(help="Its newest version that was trained on this dataset.")] = "",
    combination: Annotated[str, typer.Option(help="The one to fit.", show_default="the last")] = "",
    accuracy: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="That decisions have to reach, with 95 % confidence.")
    ] = 0.95,
    least: Annotated[int, typer.Option(min=10, help="Products held out that a fit needs.")] = 300,
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="Make a version that scores and decides so.")
    ] = False,
    current: Annotated[bool, typer.Option("--current/--no-current", help="Make that the current version.")] = True,
    json: AsJson = False,
) -> None:
    """Fit weights, stacking and thresholds on the holdout.

    Cross-fitted: every figure is of products that were not fitted on. With label
    sets: weights by particle swarm, and thresholds of labels at any accuracy.

    Example: shelver fit grocery-small --least 20
    """
    from services.reports import fitting

    session: Session = context.obj
    version = find_version(session, ensemble, dataset)
    chosen = chosen_combination(version, combination)
    found = fitting.fit(session.stores.objects, version, chosen, accuracy=accuracy, least=least)
    made = None
    if apply:
        made = ensemble_versions.with_fit(
            session.stores, version, chosen, found.fit, move_current=current, now=time.time()
        )
    if json:
        as_json(found.plain() | {"applied": made.version if made else None})
        return
    _show(found)
    if made:
        words = "is ready and current" if current else "is ready"
        stdout.print(f"ensemble {made.name}@{made.version} {words}", markup=False)


def _show(found: "Fitted") -> None:
    sets = found.task == "multilabel"
    figure, right, unit = ("micro F1", "micro F1", "") if sets else ("log loss", "right", ", in nats")
    stdout.print(f"{figure} of the networks of {found.combination}{unit}", markup=False)
    table(
        ["", "without", "with", "gain", ""],
        [
            [step.name, step.before, step.after, step.gain, "taken" if step.taken else "not applied: it may be chance"]
            for step in found.steps
        ],
        empty="",
    )
    for reason in dict.fromkeys(found.left_out.values()):
        names = ", ".join(name for name, why in found.left_out.items() if why == reason)
        stdout.print(f"no {names}: {reason}", markup=False)
    _show_members(found.fit)
    if sets:
        _show_thresholds(found)
    else:
        _show_decisions(found)
    stdout.print(f"\n{right} without the fit: {found.unfitted}", markup=False)
    stdout.print(f"{right} with it: {found.fitted}, gain {found.difference}", markup=False)
    if found.macro:
        stdout.print("macro F1 without and with it: {}, {}".format(*found.macro), markup=False)
    words = ", and that share no image with training" if sets else ""
    stdout.print(f"{found.products:,} products of {found.dataset} that every member held out{words}", markup=False)
    if found.undecodable:
        stdout.print(f"{found.undecodable:,} more have no picture that can be decoded", markup=False)


def _show_members(fit: Fit) -> None:
    rare = f"weights in categories of fewer than {fit.frequent_from:,} training images"
    for title, of_members in (("weights", fit.weights), (rare, fit.rare_weights), ("powers", fit.powers)):
        if of_members:
            words = ", ".join(f"{name} {number:.3f}" for name, number in of_members.items())
            stdout.print(f"{title}: {words}", markup=False)
    if fit.biases:
        low, high = min(fit.biases), max(fit.biases)
        stdout.print(
            f"biases: {low:+.3f} to {high:+.3f} nats, one for each of {len(fit.biases)} categories", markup=False
        )


def _show_thresholds(found: "Fitted") -> None:
    thresholds = found.fit.label_thresholds
    if len(thresholds) == 1:
        stdout.print(f"threshold: {thresholds[0]:.4f}", markup=False)
    elif thresholds:
        low, high = min(thresholds), max(thresholds)
        stdout.print(f"thresholds: {low:.4f} to {high:.4f}, one for each of {len(thresholds)} labels", markup=False)
    if found.without_positives:
        words = ", ".join(map(str, found.without_positives[:_LISTED]))
        more = ", ..." if len(found.without_positives) > _LISTED else ""
        count = len(found.without_positives)
        stdout.print(f"{count} labels that no product has keep 0.5: {words}{more}", markup=False)


def _show_decisions(found: "Fitted") -> None:
    stdout.print(f"temperature: {found.fit.temperature:.3f}", markup=False)
    for source, right in found.told.items():
        stdout.print(f"{source} alone decides: right {right}, which is its probability", markup=False)
    stdout.print(f"\ndecisions that are right with probability {found.fit.accuracy:g} or more", markup=False)
    table(
        ["source", "decision", "from probability", "share", "right"],
        [[d.source, d.decision, _from(d), d.share, d.right] for d in found.decided],
        empty="",
    )


def _from(decided: "Decided") -> str:
    if decided.decision == DECISIONS[-1]:
        return "what is left"
    return "never" if decided.threshold is None else f"{decided.threshold:.4f}"
