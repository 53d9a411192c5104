"""All verbs: importing a module registers the verbs in it."""

from services.cli import (
    catalog,
    comparing,
    demonstration,
    describe,
    ensembles,
    fitting,
    keys,
    plan,
    pretrained,
    relabel,
    runs,
    serving,
    training,
    upkeep,
)
from services.cli import scoring as scoring_verbs
from services.cli.app import app, application, hoisted
from services.cli.show import remark, stderr

__all__ = [
    "app",
    "application",
    "catalog",
    "comparing",
    "demonstration",
    "describe",
    "ensembles",
    "fitting",
    "hoisted",
    "keys",
    "plan",
    "pretrained",
    "relabel",
    "remark",
    "runs",
    "scoring_verbs",
    "serving",
    "stderr",
    "training",
    "upkeep",
]
