"""The verb runs: every training of a member, and one of them in full."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.app import AsJson, app
from services.cli.curves import curves
from services.cli.exporting import check_file, export_run
from services.cli.session import Session
from services.cli.show import as_json, duration, facts, stdout, table
from shared.domain.errors import BadInputError
from shared.domain.intervals import Accuracy
from shared.domain.records import Run
from shared.run_log import Line, RunLog


@app.command()
def runs(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(help="A run's id, the start of one, or the newest training's member of that name.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write its network for other programs: FILE.onnx or FILE.pt2.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List the trainings of members, or show one with its curves.

    Its epochs, holdout figures and card are shown too. An exported network (ONNX, torch.export) normalises inside;
    shelver.json in it says how to resize pictures and which categories the answers are.

    Example: shelver runs

    Example: shelver runs 0123456789abcdef --export member.pt2
    """
    session: Session = context.obj
    if export is not None:
        _export(session, run, export, json=json)
        return
    if run is None:
        _show_all(session.place.runs(), json=json)
        return
    row, log = session.place.run(run)
    if json:
        files = {"metrics": log.metrics or None, "card": log.card or None, "progress": log.progress or None}
        as_json(row.plain() | {"log": log.lines} | files)
    else:
        _show(row, log)


def _export(session: Session, run: str | None, file: Path, *, json: bool) -> None:
    if run is None:
        raise BadInputError("--export", "no run is named", remedy="name one of `shelver runs`, or its member")
    if session.server:
        reason = "a server hands out no weights"
        raise BadInputError("--export", reason, remedy="use it on the machine of the stores, without --server")
    check_file(file)
    row, _ = session.place.run(run)
    size = export_run(session, row, file)
    if json:
        as_json({"run": row.id, "file": str(file), "bytes": size})
    else:
        stdout.print(f"{file} has member {row.member} of run {row.id}: {size / 1e6:,.1f} MB", markup=False)


def _show_all(found: Sequence[Line], *, json: bool) -> None:
    if json:
        as_json(found)
        return
    table(
        ["run", "member", "network", "dataset", "state", "epochs", "holdout accuracy", "images/s", "when"],
        [
            [
                *(one[name] for name in ("run", "member", "network", "dataset", "state")),
                f"{one['epochs_done']}/{one['epochs']}",
                _share(one["holdout"]),
                _number(one["images_per_second"], ",.0f"),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one["created"])),
            ]
            for one in found
        ],
        empty="no runs yet; `shelver train` makes them",
    )


def _show(run: Run, log: RunLog) -> None:
    metrics, member = log.metrics, run.definition["member"]
    start = metrics.get("start", {})
    seconds = metrics.get("seconds") or (log.lines[-1].get("seconds") if log.lines else None)
    facts(
        {
            "run": run.id,
            "member": run.member,
            "network": f"{member['model']}, {member['input']['size']} pixels",
            "dataset": run.dataset,
            "state": run.state,
            "reason": run.reason,
            "now": _now(log.progress) if run.state == "running" else "",
            "attempts": run.attempt,
            "device": metrics.get("device", ""),
            "precision": metrics.get("precision", ""),
            "parameters": metrics.get("parameters", ""),
            "started from": "{source}, {share:.1%} of the network".format(**start) if start.get("share") else "",
            "trained for": duration(seconds) if seconds else "",
            "stopped early": f"after epoch {log.stopped['epoch']}" if log.stopped else "",
            "best epoch": metrics.get("best_epoch") or log.stopped.get("best_epoch") or "",
        }
    )
    for plot in curves(log.lines, colours=stdout.is_terminal and not stdout.no_color):
        stdout.out()
        stdout.file.write(f"{plot}\n")
    _show_epochs(log.epochs)
    _show_holdout(metrics.get("holdout", {}))
    _show_card(log.card)


def _now(progress: Line) -> str:
    """How far a running one is."""
    if not progress:
        return "starting"
    share = f"{progress['stage']}, {progress['step'] / max(1, progress['steps']):.0%} of its steps"
    if progress["stage"] != "training":
        return share
    rate = _number(progress.get("images_per_second"), ",.0f")
    left = duration(progress.get("seconds_left"))
    return f"{share}, epoch {progress['epoch']} of {progress['epochs']}, {rate} images/s, {left} left"


def _show_epochs(epochs: Sequence[Line]) -> None:
    """A line per epoch; what the log of a run does not have is no column."""
    columns: list[tuple[str, str, list[Any]]] = [
        (title, form, [_at(line, *path) for line in epochs])
        for title, form, path in (
            ("epoch", "d", ("epoch",)),
            ("loss", ".3f", ("loss",)),
            ("top-1", ".3f", ("accuracy",)),
            ("top-5", ".3f", ("top5",)),
            ("first\nlabel", ".3f", ("first_label",)),
            ("watch\nloss", ".3f", ("watch", "loss")),
            ("image\ntop-1", ".3f", ("watch", "image_top1")),
            ("product\ntop-1", ".3f", ("watch", "product_top1")),
            ("whole\nsets", ".3f", ("watch", "product_exact")),
            ("micro\nF1", ".3f", ("watch", "micro_f1")),
            ("macro\nF1", ".3f", ("watch", "f1")),
            ("rate", ".2g", ("rate",)),
            ("images/s", ",.0f", ("images_per_second",)),
        )
    ]
    shown = [(title, form, values) for title, form, values in columns if any(value is not None for value in values)]
    stdout.out()
    rows = [[_number(values[i], form) for _, form, values in shown] for i in range(len(epochs))]
    table([title for title, _, _ in shown], rows, empty="no epoch is done yet")


def _at(line: Mapping[str, Any], *path: str) -> Any:
    value: Any = line
    for name in path:
        value = None if value is None else value.get(name)
    return value


def _show_holdout(held: Mapping[str, Any]) -> None:
    if not held:
        return
    products, top5 = held["products"], held.get("top5", {})
    figures = [
        ("images", held["images"]),
        ("images, among the best 5", top5.get("images")),
        ("products", products["all"]),
        ("products, among the best 5", top5.get("products")),
        ("products not seen in training", products["new"]),
        ("products that share an image with training", products["seen"]),
    ]
    stdout.out()
    table(["holdout", "accuracy"], [[name, _share(figure)] for name, figure in figures if figure], empty="")
    for what, key in (("all labels together", "micro"), ("mean over categories", "macro")):
        found = held.get(key, {})
        if found.get("n"):
            figures_of = ", ".join(f"{name} {_number(found[name], '.3f')}" for name in ("precision", "recall", "f1"))
            stdout.print(f"products, {what}: {figures_of} (n={found['n']})", markup=False)


def _show_card(card: Mapping[str, Any]) -> None:
    if not card:
        return
    stdout.out()
    facts(
        {
            "card": f"{card['parameters']:,} parameters, {card['bytes'] / 1e6:,.1f} MB, "
            f"{card['flops'] / 1e9:,.2f} GFLOPs a picture",
            "measured on": f"{card['device']}, {card['threads']} threads",
            "peak memory": f"{card['peak_memory_bytes'] / 1e6:,.0f} MB of the {card['peak_memory_of']}",
            "load time": f"{card['load_seconds']:.2f} s",
            **{
                f"accuracy, {precision}": f"{_share(figure)}, holdout images, plain view"
                for precision, figure in card["accuracy"].items()
            },
        }
    )
    stdout.out()
    table(
        ["precision", "batch", "ms a batch", "images/s", "rounds"],
        [
            [e["precision"], e["batch"], f"{1000 * e['seconds']:,.1f}", f"{e['images_per_second']:,.0f}", e["rounds"]]
            for e in card["inference"]
        ],
        empty="",
    )


def _share(figure: Mapping[str, Any] | None) -> str:
    """A stored figure with its n and interval; nothing where there is none yet."""
    return "" if figure is None else str(Accuracy.from_plain(figure))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
