"""The verb that judges what a job found: `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.driving import check_ended
from services.cli.files import check_target, whole
from services.cli.session import Session
from services.cli.show import as_json, stdout, table
from shared import labels as label_files
from shared.domain.records import Job
from shared.packs import read_taxonomy

if TYPE_CHECKING:  # scikit-learn, matplotlib and Pillow are slow to import and this verb's alone
    from services.reports.confidence import Accepted
    from services.reports.evaluation import Detail, Evaluation


@app.command()
def evaluate(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="A scoring job.")],
    labels: Annotated[Path, typer.Option(help="CSV of _id,category_id: the known answers.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page: one file with plots and pictures.")] = None,
    json: AsJson = False,
) -> None:
    """Judge a job by known categories, with and without duplicates.

    Example: shelver evaluate 0123456789abcdef --labels examples/grocery/test_labels.csv
    """
    session: Session = context.obj
    row = session.stores.jobs.job(job)
    if html is not None:
        check_target(html)
    found = evaluate_job(session, row, labels)
    if html is not None:
        write_page(session, found, html)
    if json:
        as_json(found.plain())
    else:
        show_evaluation(found)


def evaluate_job(session: Session, job: Job, labels: Path) -> "Evaluation":
    """Judge one job by a file of labels."""
    from services.reports import judging

    check_ended(job)
    stores = session.stores
    version = stores.runs.version(job.ensemble, job.version)
    sets = version.document["task"] == "multilabel"
    known = label_files.read(labels, read_taxonomy(stores.objects, version.dataset), sets=sets)
    return judging.evaluate(stores.objects, stores.jobs, job, version, known)


def write_page(session: Session, found: "Evaluation", output: Path) -> None:
    """Write the evaluation as a page."""
    from services.reports import report

    stores = session.stores
    version = stores.runs.version(found.ensemble, found.version)
    content = report.page(found, stores.objects, read_taxonomy(stores.objects, version.dataset))
    with whole(output) as file:
        file.write(content.encode())


def show_evaluation(found: "Evaluation") -> None:
    """The essential figures for people."""
    if found.task == "multilabel":
        _show_label_combinations(found)
    else:
        table(
            ["combination", "accuracy with duplicates", "without"],
            [[c.combination, c.with_duplicates or "-", c.without_duplicates or "-"] for c in found.combinations],
            empty="no combinations",
        )
    if found.detail is not None:
        _show_detail(found, found.detail)
    for note in found.notes():
        stdout.print(note, markup=False)


def _show_label_combinations(found: "Evaluation") -> None:
    from services.reports.label_quality import LabelQuality

    rows = []
    for one in found.combinations:
        for duplicates, quality in (
            ("with", one.quality_with_duplicates),
            ("without", one.quality_without_duplicates),
        ):
            if isinstance(quality, LabelQuality):
                rows.append([one.combination, duplicates, quality.micro_f1, quality.macro_f1, quality.accuracy])
    table(["combination", "duplicates", "micro F1", "macro F1", "exactly right"], rows, empty="no figures")


def _show_detail(found: "Evaluation", detail: "Detail") -> None:
    from services.reports.quality import Quality

    quality = found.default.quality_with_duplicates or found.default.quality_without_duplicates
    duplicates = "with" if detail.with_duplicates else "without"
    stdout.print(f"\n{detail.combination}, {duplicates} duplicates:", markup=False)
    rows: list[list[object]] = []
    if isinstance(quality, Quality):
        rows += [[f"right on level {number}", level] for number, level in enumerate(quality.levels, 1)]
        rows.append(["right among the best five", quality.top5])
        rows.append([f"macro F1, mean of {quality.macro.categories:,} categories", quality.macro_f1])
        rows.append(["F1 of answers above 0.5", quality.counted_f1])
        agreement = {"Matthews' correlation": quality.matthews, "Cohen's kappa": quality.kappa}
        rows += [[name, f"{value:.3f}"] for name, value in agreement.items() if value is not None]
    elif quality is not None:
        rows.append(["most probable label right", quality.first])
    if quality is not None and quality.auc is not None:
        rows.append(["ROC AUC", f"{quality.auc:.3f}"])
    rows += [[f"decided by {one.source}", one.coverage] for one in detail.sources if one.source != "error"]
    answers = "" if isinstance(quality, Quality) else "labels "
    rows += [
        [f"{answers}accepted at accuracy {target.asked:g}", _accepted(target.accepted)]
        for target in detail.coverage.targets
    ]
    rows += [[f"expected calibration error (n={one.n:,})", f"{one.error:.3f}"] for one in [detail.calibration] if one]
    if detail.thresholds and detail.thresholds.gain:
        rows.append(["micro F1 that thresholds gain", detail.thresholds.gain])
    table(["figure", "share"], rows, empty="")
    if detail.decisions:
        stdout.print(
            "\ndecisions; right is at their own level, and for review had the category been taken", markup=False
        )
        table(
            ["source", "decision", "share", "right"],
            [[one.source or "all", one.decision, one.share, one.right] for one in detail.decisions],
            empty="",
        )
    stdout.print()


def _accepted(accepted: "Accepted | None") -> str:
    if accepted is None:
        return "not reached"
    return f"{accepted.coverage:.3f} of all, from probability {accepted.probability:.4f}"
