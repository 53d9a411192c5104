"""What a person sees: tables, JSON, and progress with rate and time left, on a terminal or in a log."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

stdout = Console(soft_wrap=True, highlight=False, emoji=False)
stderr = Console(stderr=True, highlight=False, emoji=False)

_NO_TERMINAL_COLUMNS = 1000  # a file or a pipe breaks no lines
_LOG_SECONDS = 5.0  # between lines where there is no terminal to redraw

Update = Callable[[float, float | None, str], None]
"""Called with what is done, the total (None where it is not known) and a few words such as the rate."""


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """A table; numbers stand right. `empty` is what to say where there are no rows."""
    if not rows:
        stdout.print(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:  # as Text: a category's name may look like markup
        drawn.add_row(*[Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row])
    (stdout if stdout.is_terminal else Console(width=_NO_TERMINAL_COLUMNS, highlight=False)).print(drawn)


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values, one line each; what has no value yet is left out."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        if value not in ("", {}):
            stdout.print(f"{name:<{width}}  {_words(value)}", markup=False)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(number)} {name}" for name, number in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def remark(words: str) -> None:
    """A line for people on standard error, where it mixes with no JSON document."""
    stderr.print(words, markup=False, soft_wrap=True)


def duration(seconds: float | None) -> str:
    """`83` as `1:23`; an unknown one as `?`."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def progress(title: str) -> Iterator[Update]:
    """A progress bar on a terminal, a line every few seconds elsewhere; on standard error either way."""
    if stderr.is_terminal:
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=stderr,
        )
        with bar:
            task = bar.add_task(title, total=None, words="")

            def redraw(done: float, total: float | None, words: str) -> None:
                bar.update(task, completed=done, total=total, words=words)

            yield redraw
        return
    last, said = -_LOG_SECONDS, ""

    def log(done: float, total: float | None, words: str) -> None:
        nonlocal last, said
        now = time.monotonic()
        line = f"{title}  {f'{100 * done / total:3.0f} %  ' if total else ''}{words}"
        if line != said and (now - last >= _LOG_SECONDS or (total is not None and done >= total)):
            last, said = now, line
            remark(line)

    yield log
