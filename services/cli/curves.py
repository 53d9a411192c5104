"""Curves of a training in the terminal: loss and accuracy, drawn with characters."""

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 78
_HEIGHT = 13
_TICKS = 5
_LINE, _POINT = "braille", "o"

Points = list[tuple[int, float]]


def curves(lines: Sequence[Mapping[str, Any]], *, colours: bool) -> list[str]:
    """Two plots of at most `WIDTH` columns: loss, and accuracy per image; none where the log has no line yet.

    Training images as a line, the watch part as points; over epochs, or over steps until two epochs are done.
    """
    epochs = [line for line in lines if line["kind"] == "epoch"]
    over = "epoch" if len(epochs) > 1 else "step"
    shown = epochs if over == "epoch" else [line for line in lines if line["kind"] in ("epoch", "step")]
    if not shown:
        return []
    watched = [line for line in shown if line.get("watch")]

    def plot(name: str, of_watch: str) -> str:
        training = [(line[over], line[name]) for line in shown]
        watch = [(line[over], line["watch"][of_watch]) for line in watched]
        return _plot(name, over, training, watch, colours)

    right = "image_top1" if all("image_top1" in line["watch"] for line in watched) else "image_exact"
    return [plot("loss", "loss"), plot("accuracy", right)]


def _plot(name: str, over: str, training: Points, watch: Points, colours: bool) -> str:
    import plotext  # half a second that no other verb needs

    figure = plotext.figure
    figure.clear()
    figure.plot_size(WIDTH, _HEIGHT)
    figure.theme("simple" if colours else "colorless")
    figure.title(f"{name} per {over}: training images (line)" + (", watch images (o)" if watch else ""))
    for points, marker in ((training, _LINE), (watch, _POINT)):
        if points:
            x, y = zip(*points, strict=True)
            figure.draw(figure.signal(x, y, marker=marker).lines(marker == _LINE))
    first, last = min(x for x, _ in training), max(x for x, _ in training)
    ticks = sorted({round(first + (last - first) * i / _TICKS) for i in range(_TICKS + 1)})
    figure.ruler("x", "lower").ticks(ticks, [f"{tick:,}" for tick in ticks])
    drawn: str = figure.build().string()
    figure.clear()
    return drawn.rstrip() if colours else "\n".join(line.rstrip() for line in plotext.uncolorize(drawn).splitlines())
