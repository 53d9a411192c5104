"""What was measured, as a JSON file with every round and a Markdown table to read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rounds import Comparison, Timed, quantity

FOLDER = Path(__file__).parent / "results"
_COLUMNS = ("benchmark", "ratio", "range", "must", "aim", "ours", "theirs", "CPU ours", "CPU theirs", "against")


def write(
    folder: Path, name: str, about: Mapping[str, Any], found: Sequence[Comparison], failures: Sequence[str]
) -> Path:
    """Write NAME.json and NAME.md into the folder, over those that are there; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**about, "rows": [plain(comparison) for comparison in found], "failures": list(failures)}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    page = folder / f"{name}.md"
    page.write_text(markdown(about, found, failures))
    return page


def plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values. What a side took is in `unit`, of the processor in seconds."""
    return {
        "name": comparison.name,
        "against": comparison.words,
        "ratio": comparison.ratio,
        "range": list(comparison.spread),
        "must": comparison.goals.must,
        "aim": comparison.goals.aim,
        "unit": comparison.unit,
        "rounds": [
            {"ratio": one.ratio, "ours": _plain_side(one.ours), "theirs": _plain_side(one.theirs)}
            for one in comparison.rounds
        ],
    }


def markdown(about: Mapping[str, Any], found: Sequence[Comparison], failures: Sequence[str]) -> str:
    """A page: when, where and with what it was measured, a row per comparison, and whose sides did not agree."""
    machine = about["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB"
    lines = [
        "# Benchmarks",
        "",
        f"- {about['began']}, revision {about['revision'] or 'unknown'}",
        f"- {where}, {machine['gpu'] or 'no GPU'}, {machine['system']}, load {machine['load']}",
        f"- {', '.join(f'{name} {version}' for name, version in about['versions'].items())}",
        *(f"- **{failure}**" for failure in failures),
        "",
        _row(_COLUMNS),
        _row(["---"] * len(_COLUMNS)),
        *(_row(_cells(comparison)) for comparison in found),
    ]
    return "\n".join(lines) + "\n"


def _plain_side(side: Timed) -> dict[str, float | None]:
    return {"took": side.seconds, "cpu": None if math.isnan(side.cpu) else side.cpu}


def _cells(comparison: Comparison) -> list[str]:
    low, high = comparison.spread
    goals = comparison.goals.words(comparison.ratio)
    return [
        comparison.name,
        f"{comparison.ratio:.2f}x",
        f"{low:.2f}-{high:.2f}",
        *(goals.get(name, "") for name in ("must", "aim")),
        *(quantity(value, comparison.unit) for value in comparison.took),
        *(quantity(value, "s") for value in comparison.cpu),
        comparison.words,
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
