"""The verb pretrained: initial weights for machines without internet."""

import subprocess
import sys
from importlib import util
from json import dumps as render_json
from json import loads as parse_json
from typing import Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, stdout, table
from shared import dumps, pretrained, wiring
from shared.domain.errors import BadInputError, FailedError
from shared.weights import Shapes

LEAST_SHARE = 0.5  # an output layer for other classes may be large; less than this is another network's weights

pretrained_verbs = typer.Typer(invoke_without_command=True)
app.add_typer(pretrained_verbs, name="pretrained")


@pretrained_verbs.callback()
def every(context: typer.Context, json: AsJson = False) -> None:
    """List the initial weights in the object store.

    Elsewhere `init: imagenet` takes them from timm's hub.

    Example: shelver pretrained --json
    """
    if context.invoked_subcommand:
        return
    session: Session = context.obj
    found = pretrained.models(session.stores.objects)
    if json:
        as_json([{"model": model, "bytes": size} for model, size in found.items()])
        return
    table(
        ["network", "bytes"], [list(one) for one in found.items()], empty="none; `shelver pretrained add` stores some"
    )


@pretrained_verbs.command("add")
def add(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME", help="timm's name of the network.")],
    file: Annotated[str, typer.Argument(help="Its weights by timm's names: safetensors, a path or s3://...")],
) -> None:
    """Store the weights that `init: imagenet` of a network starts from.

    timm's hub offers them as model.safetensors.

    Example: shelver pretrained add resnet18 resnet18.safetensors
    """
    session: Session = context.obj
    dump = dumps.locate(file, wiring.buckets(session.settings))
    share = _share(model, pretrained.check(model, file, dump))
    if share is not None and share < LEAST_SHARE:
        reason = f"its tensors fill {share:.1%} of '{model}' by name and shape"
        raise BadInputError(file, reason, remedy="name the network that it was made for")
    new = pretrained.add(session.stores.objects, model, file, dump)
    fills = "" if share is None else f", which fill {share:.1%} of the network"
    stdout.print(f"weights of {model}{fills}: {'stored' if new else 'there already'}", markup=False)


def _share(model: str, shapes: Shapes) -> float | None:
    """The share of the network's numbers that tensors fill; None where torch is not installed. Raises FailedError."""
    if not util.find_spec("torch"):
        return None
    command = [sys.executable, "-m", "workers.vision.filled", model]
    asked = subprocess.run(command, input=render_json(shapes), capture_output=True, text=True, check=False)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FailedError(f"the network cannot be built: {last}")
    return float(parse_json(asked.stdout))
