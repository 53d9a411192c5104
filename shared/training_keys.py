"""The keys `schedule` and `augment` of a member: read with checks that name the line and the remedy, and written back.

```yaml
schedule: {kind: steps, rates: {1: 1.0e-4, 11: 2.0e-5}}                     # first epoch: rate
schedule: {kind: cosine, rate: 1.0e-3, floor: 1.0e-6, warmup: 1}            # warmup in epochs, for every kind
schedule: {kind: polynomial, rate: 1.0e-3, power: 2}
schedule: {kind: exponential, rate: 1.0e-3, decay: 0.9}                     # decay per epoch
schedule: {kind: cyclic, rate: 1.0e-3, floor: 1.0e-5, cycle: 4}             # cycle in epochs, up and down
schedule: {kind: cyclic_exponential, rate: 1.0e-3, floor: 1.0e-5, cycle: 4, decay: 0.9}
schedule: {kind: plateau, rate: 1.0e-3, factor: 0.3, patience: 2, floor: 1.0e-6}
augment: [hflip, {rotate: 15}, {crop: 0.8}, {brightness: 0.2}, {erase: 0.25}]
```
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from shared.domain.ensemble import Augmentation, Schedule, ScheduleKind
from shared.yaml_nodes import Value


@dataclass(frozen=True, slots=True)
class Amount:
    """What an augmentation's amount means: a number above 0 and up to `high` (`below`: without it)."""

    meaning: str
    example: float
    high: float
    below: bool = False


AUGMENTATIONS: Mapping[str, Amount | None] = {
    "hflip": None,
    "vflip": None,
    "rotate": Amount("degrees, either way", 15, 180),
    "shear": Amount("degrees, either way", 10, 45),
    "translate": Amount("share of the edge, either way", 0.1, 0.5),
    "crop": Amount("least share of the area that stays", 0.8, 1, below=True),
    "brightness": Amount("share, either way", 0.2, 1),
    "contrast": Amount("share, either way", 0.2, 1),
    "saturation": Amount("share, either way", 0.2, 1),
    "hue": Amount("share of the colour circle, either way", 0.05, 0.5),
    "erase": Amount("share of the pictures", 0.25, 1),
    "trivial": None,
}
"""Every augmentation by name; None where there is nothing to say but the name."""

_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "steps": ("rates",),
    "cosine": ("rate",),
    "polynomial": ("rate",),
    "exponential": ("rate", "decay"),
    "cyclic": ("rate", "cycle"),
    "cyclic_exponential": ("rate", "cycle", "decay"),
    "plateau": ("rate", "patience"),
}
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "steps": ("warmup",),
    "polynomial": ("power", "floor", "warmup"),
    "plateau": ("factor", "floor", "warmup"),
}
_OTHERWISE_OPTIONAL = ("floor", "warmup")


def schedule(value: Value) -> Schedule:
    """The schedule of a mapping with the key `kind`. Raises BadInputError."""
    named = value.mapping().get("kind")
    if named is None:
        raise value.error("the key 'kind' is missing", f"add kind: one of {', '.join(_REQUIRED)}")
    kind = cast(ScheduleKind, named.choice(get_args(ScheduleKind)))
    for key, entry in value.mapping().items():
        if key not in ("kind", *_keys(kind)) and any(key in _keys(other) for other in _REQUIRED):
            raise entry.error(f"a schedule of kind {kind} has no '{key}'", f"it has {', '.join(_keys(kind))}")
    keys = value.mapping(("kind", *_keys(kind)), _REQUIRED[kind])
    numbers: dict[str, float] = {}
    for key in (key for key in _keys(kind) if key in keys and key not in ("rates", "patience")):
        numbers[key] = _number(key, keys[key], numbers.get("rate", 0.0))
    if kind.startswith("cyclic") and numbers.get("warmup") and not numbers.get("floor"):
        raise keys["warmup"].error("a cycle begins at its floor, and this one is 0", "add a floor, or leave warmup out")
    return Schedule(
        kind=kind,
        rates=_rates(keys["rates"]) if "rates" in keys else (),
        patience=keys["patience"].integer(0, 100_000) if "patience" in keys else 0,
        **numbers,
    )


def render_schedule(schedule: Schedule) -> dict[str, Any]:
    """The schedule as the mapping of a file, every key that its kind uses written out."""
    keys = {key: getattr(schedule, key) for key in _keys(schedule.kind)}
    return {"kind": schedule.kind} | {k: dict(v) if k == "rates" else v for k, v in keys.items()}


def augment(value: Value) -> tuple[Augmentation, ...]:
    """The augmentations of a list, in its order. Raises BadInputError."""
    found: dict[str, Augmentation] = {}
    for item in value.items():
        one = _augmentation(item)
        if one.name in found:
            raise item.error(f"the augmentation '{one.name}' is named twice", "name it once")
        found[one.name] = one
    return tuple(found.values())


def render_augment(augmentations: tuple[Augmentation, ...]) -> list[Any]:
    """The augmentations as the list of a file."""
    return [one.name if AUGMENTATIONS[one.name] is None else {one.name: one.amount} for one in augmentations]


def _keys(kind: str) -> tuple[str, ...]:
    return _REQUIRED[kind] + _OPTIONAL.get(kind, _OTHERWISE_OPTIONAL)


def _number(key: str, entry: Value, rate: float) -> float:
    match key:
        case "floor":
            return entry.number(0.0, rate)
        case "warmup":
            return entry.number(0.0)
        case "decay":
            return entry.number(0.0, 1.0, above=True)
        case "factor":
            return entry.number(0.0, 1.0, above=True, below=True)
    return entry.number(0.0, above=True)


def _rates(entries: Value) -> tuple[tuple[int, float], ...]:
    rates: dict[int, float] = {}
    for key, entry in entries.mapping().items():
        if not key.isdecimal() or int(key) < 1:
            raise entry.error(f"'{key}' is no epoch", "epochs count from 1")
        if int(key) in rates:
            raise entry.error(f"epoch {int(key)} is repeated", "keep one of them")
        rates[int(key)] = entry.number(0.0)
    if 1 not in rates:
        raise entries.error("rates start with epoch 1", "write rates: {1: 1.0e-4, ...}")
    return tuple(sorted(rates.items()))


def _augmentation(item: Value) -> Augmentation:
    if not item.is_mapping:
        name = item.choice(AUGMENTATIONS)
        amount = AUGMENTATIONS[name]
        if amount is not None:
            raise item.error(f"'{name}' needs an amount ({amount.meaning})", f"write {{{name}: {amount.example:g}}}")
        return Augmentation(name=name)
    entries = item.mapping(AUGMENTATIONS)
    if len(entries) != 1:
        raise item.error("each entry is one augmentation", "write [hflip, {rotate: 15}]")
    [(name, entry)] = entries.items()
    amount = AUGMENTATIONS[name]
    if amount is None:
        raise entry.error(f"'{name}' takes no amount", f"write {name} alone")
    return Augmentation(name=name, amount=entry.number(0.0, amount.high, above=True, below=amount.below))
