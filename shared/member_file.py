"""One member of an ensemble file: its keys over the file's defaults over the built-in ones, and back to plain keys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, cast, get_args

from shared import head_keys, joint_keys, label_keys, training_keys
from shared.domain.ensemble import Fit, Init, Input, Member, Schedule, Split
from shared.domain.ensemble_rules import default_seed, nearest
from shared.yaml_nodes import Value

_SHARED = (
    "input",
    "batch_size",
    "accumulate",
    "optimizer",
    "momentum",
    "weight_decay",
    "clip_norm",
    "ema",
    "label_smoothing",
    "augment",
    "plain_epochs",
    "share",
    "early_stopping",
    "schedule",
    "precision",
    "init",
    "as_published",
    "head",
    "trains",
    "levels",
    "labels",
    "class_weights",
    "sampling",
    "features",
    "images",
    "joint",
    "model",
    "split",
    "epochs",
)
_KEYS = (*_SHARED, "seed", "phases")
_PLAIN = (
    "epochs",
    "seed",
    "batch_size",
    "accumulate",
    "optimizer",
    "weight_decay",
    "clip_norm",
    "ema",
    "label_smoothing",
    "plain_epochs",
    "share",
)
_INPUT = ("size", "fit", "interpolation", "antialias", "pad_colour", "mean", "std")
_NO_PHASES = ("phases", "init", "split", "model", "input", "head", "seed", "as_published")
_MOMENTUM = next(cast(float, field.default) for field in fields(Member) if field.name == "momentum")


def check_defaults(value: Value) -> None:
    """Refuse keys that a file's `defaults` cannot hold (a common seed would make equal members the same run)."""
    value.mapping(_SHARED)


def member(
    name: str, layers: Sequence[Value], splits: Mapping[str, Split], architectures: Mapping[str, tuple[str, ...]]
) -> Member:
    """The member that `layers` describe, the first one that has a key giving its value."""
    own = layers[0]
    own.mapping(_KEYS)
    keys = _merged(layers)
    _require(("model", "epochs"), keys, own)
    init = _init(keys["init"], as_published=keys["as_published"].boolean())
    given = _input(_merged([layer.mapping()["input"] for layer in layers if "input" in layer.mapping()]))
    epochs = keys["epochs"].integer(1, 100_000)
    batch_size = keys["batch_size"].integer(2, 2**20)
    optimizer = _optimizer(keys["optimizer"])
    return Member(
        name=name,
        model=_model(keys["model"], init, architectures),
        input=given,
        split=_split(keys.get("split"), own, splits),
        epochs=epochs,
        seed=keys["seed"].integer(0, 2**63 - 1) if "seed" in keys else default_seed(name),
        batch_size=batch_size,
        optimizer=optimizer,
        weight_decay=keys["weight_decay"].number(0.0),
        label_smoothing=keys["label_smoothing"].number(0.0, 1.0, below=True),
        augment=training_keys.augment(keys["augment"]),
        schedule=_schedule(keys["schedule"], name, epochs),
        precision=_precision(keys["precision"]),
        init=init,
        momentum=_momentum(keys["momentum"], own, optimizer),
        accumulate=_accumulate(keys["accumulate"], name, batch_size),
        clip_norm=keys["clip_norm"].number(0.0),
        ema=keys["ema"].number(0.0, 1.0, below=True),
        plain_epochs=_plain_epochs(keys["plain_epochs"], name, epochs),
        early_stopping=_early_stopping(keys["early_stopping"]),
        head=head_keys.head(keys["head"]),
        trains=head_keys.trains(keys["trains"]),
        levels=head_keys.levels(keys["levels"]),
        labels=label_keys.labels(keys["labels"]),
        class_weights=cast(Any, keys["class_weights"].choice(("none", "balanced"))),
        sampling=cast(Any, keys["sampling"].choice(("uniform", "balanced"))),
        features=label_keys.features(keys),
        images=joint_keys.images(keys["images"]),
        joint=joint_keys.joint(keys, given),
        share=keys["share"].number(0.0, 1.0, above=True),
    )


def phases(
    name: str, layers: Sequence[Value], splits: Mapping[str, Split], architectures: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[Value, Member]]:
    """The members that the value `layers[0]` makes: one, or one per phase, each starting from the one before.

    The last phase has the member's own name.
    """
    own = layers[0]
    own.mapping(_KEYS)
    steps = own.mapping()["phases"].items() if "phases" in own.mapping() else []
    if not steps:
        return {name: (own, member(name, layers, splits, architectures))}
    found: dict[str, tuple[Value, Member]] = {}
    before = ""
    for number, step in enumerate(steps, 1):
        for key, value in step.mapping().items():
            if key in _NO_PHASES:
                raise value.error(f"'{key}' is the same in all phases", "say it of the member")
        own_name = name if number == len(steps) else f"{name}-phase{number}"
        made = member(own_name, [step, *layers], splits, architectures)
        if before:
            made = replace(made, init=Init(kind="member", name=before, as_published=made.init.as_published))
        found[own_name], before = (step, made), own_name
    return found


def render(member: Member, split: str) -> dict[str, Any]:
    """The member as the keys of a file, every default written out."""
    values = {key: getattr(member.input, key) for key in _INPUT}
    return {
        "model": member.model,
        "input": {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()},
        "split": split,
        **{key: getattr(member, key) for key in _PLAIN},
        **({"momentum": member.momentum} if member.optimizer == "sgd" else {}),
        "augment": training_keys.render_augment(member.augment),
        "schedule": training_keys.render_schedule(member.schedule),
        "early_stopping": {"patience": member.early_stopping} if member.early_stopping else "none",
        "precision": member.precision,
        "head": head_keys.render(member.head),
        "trains": list(member.trains) or "all",
        "levels": head_keys.render_levels(member.levels),
        "labels": {key: value for key, value in asdict(member.labels).items() if value} or "all",
        **{key: getattr(member, key) for key in ("class_weights", "sampling", "features")},
        "images": joint_keys.render_images(member.images),
        "joint": joint_keys.render_joint(member.joint),
        "init": {member.init.kind: member.init.name} if member.init.name else member.init.kind,
        "as_published": member.init.as_published,
    }


def _require(names: Sequence[str], keys: Mapping[str, Value], own: Value) -> None:
    for name in names:
        if name not in keys:
            raise own.error(f"the key '{name}' is missing", f"add '{name}' here or under defaults")


def _merged(layers: Sequence[Value]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for layer in reversed(layers):
        merged |= layer.mapping()
    return merged


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


def _optimizer(value: Value) -> Any:
    return value.choice(("nadam", "adamw", "sgd"))


def _momentum(value: Value, own: Value, optimizer: str) -> float:
    momentum = value.number(0.0, 1.0, below=True)
    if optimizer == "sgd":
        return momentum
    if "momentum" in own.mapping():
        raise value.error(f"{optimizer} has no momentum to set", "leave it out, or say optimizer: sgd")
    return _MOMENTUM  # what the file's defaults say to members that use sgd


def _accumulate(value: Value, name: str, batch_size: int) -> int:
    parts = value.integer(1, 2**20)
    if batch_size % parts:
        reason = f"the batch size {batch_size} of '{name}' cannot be divided into {parts} equal parts"
        raise value.error(reason, "use a divisor of batch_size")
    if batch_size // parts < 2:
        raise value.error(f"the parts of '{name}' hold one picture each", "2 or more are needed: use fewer parts")
    return parts


def _schedule(value: Value, name: str, epochs: int) -> Schedule:
    schedule = training_keys.schedule(value)
    if schedule.warmup > epochs:
        raise value.error(
            f"warms up for {schedule.warmup:g} epochs, but '{name}' trains {epochs}", "shorten the warmup"
        )
    return schedule


def _plain_epochs(value: Value, name: str, epochs: int) -> int:
    plain = value.integer(0, 100_000)
    if plain > epochs:
        raise value.error(f"'{name}' has only {epochs} epochs", f"use at most {epochs}")
    return plain


def _early_stopping(value: Value) -> int:
    if not value.is_mapping:
        if (found := value.text()) != "none":
            raise value.error(f"unknown value '{found}'", "write {patience: EPOCHS}, or none")
        return 0
    return value.mapping(("patience",), ("patience",))["patience"].integer(1, 100_000)


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
