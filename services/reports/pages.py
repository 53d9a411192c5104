"""Pages of reports: Jinja2 templates, escaped by default, and the filters in which they write figures."""

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from shared.domain.intervals import Accuracy, Average

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def render(template: str, **values: Any) -> str:
    """The page that `template` (a name below `templates/`) makes of `values`."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("services.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": count, "percent": percent, "figure": figure, "seconds": seconds, "size": size}
    return environment


def count(number: int) -> str:
    """`1234` as `1,234`."""
    return f"{number:,}"


def percent(share: float) -> str:
    """`0.8312` as `83.1 %`; a small share keeps two digits that say something; NaN is `no figure`."""
    if math.isnan(share):
        return "no figure"
    value = 100 * share
    return f"{value:.2g} %" if 0 < value < 0.1 else f"{value:.1f} %"


def figure(accuracy: Accuracy | Average) -> str:
    """A share with its 95 % interval and n: `83.1 % (78.4-87.0 %, n = 290)`; another figure: `0.831 (0.784-...`."""
    if not accuracy.n:
        return "no figure (n = 0)"
    if isinstance(accuracy, Average):
        return f"{accuracy.mean:.3f} ({accuracy.low:.3f}-{accuracy.high:.3f}, n = {accuracy.n:,})"
    low, high = 100 * accuracy.low, 100 * accuracy.high
    return f"{percent(accuracy.share)} ({low:.1f}-{high:.1f} %, n = {accuracy.n:,})"


def seconds(duration: float) -> str:
    """A duration: `4.1 ms`, `3.2 s`, `1 min 23 s`, `2 h 05 min`."""
    if duration < 0.9995:  # what would be rounded to 1,000 ms
        return f"{1000 * duration:.3g} ms"
    if duration < 59.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(number: float) -> str:
    """Bytes: `512 bytes`, `1.5 MiB`."""
    exponent = 0
    while number >= 1024 and exponent < len(_UNITS) - 1:
        number /= 1024
        exponent += 1
    return f"{number:,.0f} bytes" if not exponent else f"{number:,.1f} {_UNITS[exponent]}"
