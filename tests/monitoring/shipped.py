"""The alert rules and dashboards as they are shipped."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FILES = Path(__file__).parents[2] / "charts" / "shelver" / "files"
ALERTS = FILES / "alerts.yaml"


def rules() -> dict[str, str]:
    """Expression of each alert."""
    return {rule["alert"]: rule["expr"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}


def dashboards() -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in sorted((FILES / "dashboards").glob("*.json"))}


def queries() -> Iterator[tuple[str, str]]:
    """(dashboard and panel, query with every pool) of every panel."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"].replace("$pool", ".+")


def metrics_of(expression: str) -> set[str]:
    """The families that an expression asks for, by the names that Shelver gives them."""
    names = re.findall(r"\bshelver_[a-z0-9_]+", expression)
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}
