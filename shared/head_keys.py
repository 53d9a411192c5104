"""The keys `head`, `trains` and `levels` of a member: read with checks that name the line, and written back.

```yaml
head: average                                                               # or max, flatten; own: timm's
head: {kind: conv1x1, channels: 512, dropout: 0.2, batch_norm: true}        # of every kind: dropout, batch_norm, hidden
trains: head                                                                # or all
trains: [head, layer4]                                                      # modules by timm's names
levels: {1: 0.3, 2: 0.3}                                                    # weights of losses beside the category's
```
"""

from dataclasses import asdict
from typing import Any, cast

from shared.domain.ensemble import Head, HeadKind
from shared.yaml_nodes import Value

_KEYS = ("kind", "channels", "dropout", "batch_norm", "hidden")


def head(value: Value) -> Head:
    """The head of a word or a mapping."""
    if not value.is_mapping:
        return Head(kind=cast(HeadKind, value.choice(("own", "average", "max", "flatten"))))
    keys = value.mapping(_KEYS, ("kind",))
    kind = cast(HeadKind, keys["kind"].choice(("average", "max", "flatten", "conv1x1")))
    if (kind == "conv1x1") != ("channels" in keys):
        raise value.error("channels are those of a conv1x1", "write {kind: conv1x1, channels: 512}, or leave them out")
    return Head(
        kind=kind,
        channels=keys["channels"].integer(1, 2**16) if kind == "conv1x1" else 0,
        dropout=keys["dropout"].number(0.0, 1.0, below=True) if "dropout" in keys else 0.0,
        batch_norm="batch_norm" in keys and keys["batch_norm"].boolean(),
        hidden=keys["hidden"].integer(1, 2**16) if "hidden" in keys else 0,
    )


def render(given: Head) -> Any:
    """What `head` reads."""
    if given == Head():
        return "own"
    return {key: value for key, value in asdict(given).items() if value or key in ("dropout", "batch_norm")}


def trains(value: Value) -> tuple[str, ...]:
    """The modules that learn; empty for all."""
    if not value.is_list:
        return () if value.choice(("all", "head")) == "all" else ("head",)
    names = tuple(item.text() for item in value.items())
    if not names:
        raise value.error("nothing would learn", "write all, head, or names of modules such as [head, layer4]")
    return names


def levels(value: Value) -> tuple[float, ...]:
    """The weights of the losses of level 1 and level 2; empty for neither."""
    if not value.is_mapping:
        value.choice(("none",))
        return ()
    keys = value.mapping(("1", "2"))
    found = tuple(keys[level].number(0.0) if level in keys else 0.0 for level in ("1", "2"))
    if not any(found):
        raise value.error("no level has a weight", "write {1: 0.3, 2: 0.3}, or none")
    return found


def render_levels(given: tuple[float, ...]) -> Any:
    """What `levels` reads."""
    return {level: weight for level, weight in enumerate(given, 1) if weight} or "none"
