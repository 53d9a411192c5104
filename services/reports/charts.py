"""Plots as inline SVG and bars as HTML: no script, no colour of their own, equal input gives equal text.

Colours are the page's CSS variables (`--ink`, `--grid`, `--series-1` to `--series-6`): a plot follows light and dark.
"""

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = ["Bar", "Series", "bars", "plot"]

_INCHES = (4.2, 2.8)  # narrow, so that its text is still read when a phone shows it 330 pixels wide
_SERIES = 6
# Colours that nothing else has, replaced by variables in the finished text.
_INK, _GRID = "#0a0b01", "#0a0b02"
_COLOURS = [f"#0a0b1{number}" for number in range(1, _SERIES + 1)]
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--grid)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_COLOURS, 1)
}
_DASHES = ("solid", "dashed", "dotted")  # of the lines of the first six series, of the next six, and so on
_STYLE: Any = {  # matplotlib types its parameters by a Literal of all their names
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: texts are measured alike everywhere
    "font.size": 9.5,
    "grid.color": _GRID,
    "svg.fonttype": "none",
    "svg.hashsalt": "shelver",
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold $
    "xtick.color": _INK,
    "xtick.labelsize": 9,
    "ytick.color": _INK,
    "ytick.labelsize": 9,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line, cloud of points or staircase; `low` and `high` are its interval, as long as `y`."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "steps"] = "line"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of `bars`: `value` (0 or above) gives the length, `words` is what is written beside it."""

    label: str
    value: float
    words: str
    low: float | None = None
    high: float | None = None


def plot(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    x_log: bool = False,
    y_log: bool = False,
    diagonal: bool = False,
    y_percent: bool = False,
    x_percent: bool = False,
) -> Markup:
    """A `<figure>` of its title, an inline SVG and, for several series, a legend that wraps.

    `x` and `y` name the axes; `diagonal` draws where both are equal; `*_percent` shows shares (0 to 1) as per cent.
    """
    with mpl.rc_context(_STYLE):  # reads no file and leaves no state: Figure without pyplot
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for number, one in enumerate(series):
            _draw(axes, one, number)
        _scale(axes, axes.xaxis, x_log, x_percent, [value for one in series for value in one.x])
        _scale(axes, axes.yaxis, y_log, y_percent, [value for one in series for value in one.y])
        if diagonal:
            axes.axline((0, 0), slope=1, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(visible=True, linewidth=0.6)
        axes.set_axisbelow(True)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Markup('<figure class="plot"><figcaption>{}</figcaption>{}{}</figure>').format(
        title, Markup(_inline(stream.getvalue(), title)), _legend(series)
    )


def _draw(axes: Axes, one: Series, number: int) -> None:
    colour = _COLOURS[number % _SERIES]
    if one.kind == "points":
        if one.low is not None and one.high is not None:
            axes.vlines(one.x, one.low, one.high, color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(one.x, one.y, linestyle="none", marker="o", markersize=4.5, color=colour)
        return
    step: Literal["post"] | None = "post" if one.kind == "steps" else None
    if one.low is not None and one.high is not None:
        axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.18, linewidth=0, step=step)
    axes.plot(
        one.x,
        one.y,
        color=colour,
        linewidth=1.8,
        linestyle=_dash(number),
        drawstyle="steps-post" if step else "default",
        marker="o" if len(one.x) == 1 else "",  # a line of one point would not be seen
        markersize=4.5,
    )


def _scale(axes: Axes, axis: Axis, log: bool, percent: bool, values: Sequence[float]) -> None:
    """Ticks that people read: 10 k rather than 10^4, whole numbers where all values are."""
    positive = [value for value in values if value > 0]
    if log and positive:
        axes.set_xscale("log") if axis is axes.xaxis else axes.set_yscale("log")
        few = max(positive) < 100 * min(positive)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
        axis.set_minor_formatter(NullFormatter())
    else:
        whole = not percent and all(float(value).is_integer() for value in values)
        axis.set_major_locator(MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(_percent if percent else _number))


def _percent(value: float, _: int | None) -> str:
    return f"{100 * value:.4g} %"


def _number(value: float, _: int | None) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and abs(value) >= 10_000:
            return f"{value / size:.4g} {unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _inline(text: str, title: str) -> str:
    """matplotlib's document as an element of an HTML page: scalable, named, without namespaces or ids of others."""
    body = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    content = body[body.index(">") + 1 :]
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    content = re.sub(r'<style type="text/css">.*?</style>', "", content, flags=re.DOTALL)  # it would style the page
    content = re.sub(r"<!--.*?-->\s*", "", content, flags=re.DOTALL).replace("xlink:href", "href")
    content = re.sub(r"(font(?:-family)?: ?[^;\"]*)'DejaVu Sans'[^;\"]*", r"\1system-ui, sans-serif", content)
    for colour, variable in _VARIABLES.items():
        content = content.replace(colour, variable)
    content = _own_ids(content, sha256((title + content).encode()).hexdigest()[:10])
    words = escape(title)
    return (
        f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{words}" stroke-linejoin="round">'
        f"<title>{words}</title>{re.sub(chr(10) + ' *', chr(10), content).strip()}"
    )


def _own_ids(content: str, mark: str) -> str:
    """Ids that something refers to, made unique by `mark`; others are dropped."""
    used = set(re.findall(r'href="#([^"]+)"', content)) | set(re.findall(r"url\(#([^)]+)\)", content))
    content = re.sub(r' id="([^"]+)"', lambda found: f' id="{mark}-{found[1]}"' if found[1] in used else "", content)
    content = re.sub(r'href="#([^"]+)"', rf'href="#{mark}-\1"', content)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", content)


def _legend(series: Sequence[Series]) -> Markup:
    if len(series) < 2:
        return Markup("")
    item = Markup('<li><i style="border-top-color:var(--series-{});border-top-style:{}"></i>{}</li>')
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(item.format(number % _SERIES + 1, _dash(number), one.name) for number, one in enumerate(series))
    )


def _dash(number: int) -> str:
    return _DASHES[number // _SERIES % len(_DASHES)]


def bars(rows: Sequence[Bar], *, whole: float | None = None) -> Markup:
    """A table with one bar per row. A full bar stands for `whole`, by default the largest value or end of interval."""
    largest = max((end for row in rows for end in (row.value, row.high or 0.0)), default=0.0)
    full = whole or largest or 1.0
    return Markup('<table class="bars" role="table"><tbody>{}</tbody></table>').format(
        Markup("").join(_bar_rows(rows, full))
    )


def _bar_rows(rows: Sequence[Bar], full: float) -> Iterator[Markup]:
    row_markup = Markup(
        '<tr role="row"><th role="rowheader" scope="row">{}</th><td role="cell">{}</td>'
        '<td role="cell" class="bar"><span style="width:{}%"></span>{}</td></tr>'
    )
    for row in rows:
        interval = Markup("")
        if row.low is not None and row.high is not None:
            interval = Markup('<i style="left:{}%;width:{}%"></i>').format(
                _share(row.low, full), _share(row.high - row.low, full)
            )
        yield row_markup.format(row.label, row.words, _share(row.value, full), interval)


def _share(value: float, full: float) -> str:
    share = 100 * value / full
    return f"{min(100.0, max(0.0, share)) if math.isfinite(share) else 0.0:.2f}"
