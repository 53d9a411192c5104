"""One member of an ensemble file: its keys over the file's defaults over the built-in ones, and back to plain keys."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from shared.domain.ensemble import Fit, Init, Input, Member, Schedule, Split
from shared.domain.ensemble_rules import default_seed, nearest
from shared.yaml_nodes import Value

AUGMENTATIONS = ("hflip",)
_SHARED = (
    "input",
    "batch_size",
    "optimizer",
    "weight_decay",
    "label_smoothing",
    "augment",
    "schedule",
    "precision",
    "init",
    "as_published",
    "model",
    "split",
    "epochs",
)
_KEYS = (*_SHARED, "seed")
_INPUT = ("size", "fit", "interpolation", "antialias", "pad_colour", "mean", "std")
_LATER = ("joint",)


def check_defaults(value: Value) -> None:
    """Refuse keys that a file's `defaults` cannot hold (a common seed would make equal members the same run)."""
    _refuse_later(value)
    value.mapping(_SHARED)


def member(
    name: str, layers: Sequence[Value], splits: Mapping[str, Split], architectures: Mapping[str, tuple[str, ...]]
) -> Member:
    """The member that `layers` describe, the first one that has a key giving its value."""
    own = layers[0]
    _refuse_later(own)
    own.mapping(_KEYS)
    keys = _merged(layers)
    for required in ("model", "epochs"):
        if required not in keys:
            raise own.error(f"the key '{required}' is missing", f"add '{required}' here or under defaults")
    init = _init(keys["init"], as_published=keys["as_published"].boolean())
    return Member(
        name=name,
        model=_model(keys["model"], init, architectures),
        input=_input(_merged([layer.mapping()["input"] for layer in layers if "input" in layer.mapping()])),
        split=_split(keys.get("split"), own, splits),
        epochs=keys["epochs"].integer(1, 100_000),
        seed=keys["seed"].integer(0, 2**63 - 1) if "seed" in keys else default_seed(name),
        batch_size=keys["batch_size"].integer(2, 2**20),
        optimizer=_optimizer(keys["optimizer"]),
        weight_decay=keys["weight_decay"].number(0.0),
        label_smoothing=keys["label_smoothing"].number(0.0, 1.0, below=True),
        augment=_augment(keys["augment"]),
        schedule=_schedule(keys["schedule"]),
        precision=_precision(keys["precision"]),
        init=init,
    )


def render(member: Member, split: str) -> dict[str, Any]:
    """The member as the keys of a file, every default written out."""
    schedule: dict[str, Any] = {"kind": "steps", "rates": dict(member.schedule.rates)}
    if member.schedule.kind == "cosine":
        schedule = {"kind": "cosine"} | {k: getattr(member.schedule, k) for k in ("rate", "floor", "warmup")}
    values = {key: getattr(member.input, key) for key in _INPUT}
    return {
        "model": member.model,
        "input": {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()},
        "split": split,
        **{k: getattr(member, k) for k in ("epochs", "seed", "batch_size", "optimizer", "weight_decay")},
        "label_smoothing": member.label_smoothing,
        "augment": list(member.augment),
        "schedule": schedule,
        "precision": member.precision,
        "init": {member.init.kind: member.init.name} if member.init.name else member.init.kind,
        "as_published": member.init.as_published,
    }


def _merged(layers: Sequence[Value]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for layer in reversed(layers):
        merged |= layer.mapping()
    return merged


def _refuse_later(value: Value) -> None:
    for key, entry in value.mapping().items():
        if key in _LATER:
            raise entry.error(f"'{key}' is not supported by this version", "leave it out")


def _model(value: Value, init: Init, architectures: Mapping[str, tuple[str, ...]]) -> str:
    text = value.text()
    architecture, _, tag = text.partition(".")
    if architecture not in architectures:
        raise value.error(
            f"timm has no network '{architecture}'",
            nearest(architecture, architectures) or "see `timm.list_models()` for all names",
        )
    tags = architectures[architecture]
    if tag and tag not in tags:
        remedy = nearest(tag, tags) or f"tags: {', '.join(tags) or 'none'}"
        raise value.error(f"timm has no weights '{tag}' of '{architecture}'", remedy)
    if init.kind == "imagenet" and not tags:
        raise value.error(f"timm has no weights of '{architecture}'", "say init: none, or init: {file: KEY}")
    return text


def _input(keys: Mapping[str, Value]) -> Input:
    for key, value in keys.items():
        if key not in _INPUT:
            raise value.error(f"unknown key '{key}'", nearest(key, _INPUT) or f"known: {', '.join(_INPUT)}")
    interpolation = keys["interpolation"].choice(("bilinear", "bicubic", "nearest"))
    return Input(
        size=keys["size"].integer(16, 4096),
        fit=cast(Fit, keys["fit"].choice(get_args(Fit))),
        interpolation=cast(Any, interpolation),
        antialias=keys["antialias"].boolean(),
        pad_colour=_colour(keys["pad_colour"]),
        mean=_per_channel(keys["mean"], above=False),
        std=_per_channel(keys["std"], above=True),
    )


def _colour(value: Value) -> tuple[int, int, int]:
    levels = [item.integer(0, 255) for item in value.items()]
    if len(levels) != 3:
        raise value.error("a colour has three levels", "write [255, 255, 255]")
    return levels[0], levels[1], levels[2]


def _per_channel(value: Value, *, above: bool) -> tuple[float, ...]:
    numbers = tuple(item.number(0.0, above=above) for item in value.items())
    if len(numbers) not in (0, 3):
        raise value.error("needs one number per channel", "write three, or [] for the network's own")
    return numbers


def _split(value: Value | None, own: Value, splits: Mapping[str, Split]) -> Split:
    if value is not None:
        return splits[value.choice(splits)]
    if len(splits) > 1:
        raise own.error("the key 'split' is missing", f"one of {', '.join(splits)}")
    return next(iter(splits.values()))


def _augment(value: Value) -> tuple[str, ...]:
    names = tuple(item.choice(AUGMENTATIONS) for item in value.items())
    if len(set(names)) < len(names):
        raise value.error("an augmentation is named twice", "name it once")
    return names


def _schedule(value: Value) -> Schedule:
    kind = value.mapping().get("kind")
    if kind is None:
        raise value.error("the key 'kind' is missing", "write kind: steps or kind: cosine")
    if kind.choice(("steps", "cosine")) == "steps":
        entries = value.mapping(("kind", "rates"), ("rates",))["rates"]
        rates = tuple(sorted((_epoch(entry, key), entry.number(0.0)) for key, entry in entries.mapping().items()))
        if not rates or rates[0][0] != 1:
            raise entries.error("rates start with epoch 1", "write rates: {1: 1.0e-4, ...}")
        return Schedule(kind="steps", rates=rates)
    keys = value.mapping(("kind", "rate", "floor", "warmup"), ("rate",))
    rate = keys["rate"].number(0.0, above=True)
    return Schedule(
        kind="cosine",
        rate=rate,
        floor=keys["floor"].number(0.0, rate) if "floor" in keys else 0.0,
        warmup=keys["warmup"].number(0.0) if "warmup" in keys else 0.0,
    )


def _epoch(entry: Value, key: str) -> int:
    if not key.isdecimal() or int(key) < 1:
        raise entry.error(f"'{key}' is no epoch", "epochs count from 1")
    return int(key)


def _optimizer(value: Value) -> Any:
    return value.choice(("nadam", "adamw"))


def _precision(value: Value) -> Any:
    return value.choice(("auto", "float32", "bf16"))


def _init(value: Value, *, as_published: bool) -> Init:
    if not value.is_mapping:
        kind = value.choice(("none", "imagenet"))
        return Init(kind="imagenet" if kind == "imagenet" else "none", as_published=as_published)
    keys = value.mapping(("member", "file"))
    if len(keys) != 1:
        raise value.error("names one source", "write {member: NAME} or {file: KEY}")
    if "file" in keys:
        return Init(kind="file", name=keys["file"].text(), as_published=as_published)
    return Init(kind="member", name=keys["member"].text(), as_published=as_published)
