"""Ensemble files: YAML to a resolved `Ensemble` and back. Every error names the file, the line and a remedy.

The member graph's rules are in `shared.domain.ensemble_rules`, the drawing up of one member in `shared.member_file`.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from shared import joint_keys, label_keys, member_file
from shared.domain import ensemble_rules as rules
from shared.domain import views as domain_views
from shared.domain.ensemble import (
    ONE_CATEGORY_POLICIES,
    Axis,
    Ensemble,
    ImagePolicy,
    Mean,
    Means,
    Member,
    ProductPolicy,
    Split,
    Task,
)
from shared.domain.errors import BadInputError
from shared.yaml_nodes import Value, read

DEFAULTS = """
task: multiclass
blend: 0.0                                # share of products set aside before every split
defaults:
  input:
    {size: 180, fit: squash, interpolation: bilinear, antialias: true, pad_colour: [255, 255, 255], mean: [], std: []}
  batch_size: 64
  accumulate: 1                           # parts of a batch that go through the network one by one
  optimizer: nadam
  momentum: 0.9                           # of sgd
  weight_decay: 0.0
  clip_norm: 0.0                          # largest norm of the gradient; 0: any
  ema: 0.0                                # decay per step of averaged weights; 0: none
  label_smoothing: 0.1
  augment: [hflip]
  plain_epochs: 0                         # last epochs without augmentation
  share: 1.0                              # of the products of its training part that it learns from
  schedule: {kind: cosine, rate: 1.0e-3}  # floor and warmup: 0
  early_stopping: none                    # or {patience: epochs}
  precision: auto
  init: none
  as_published: false
  head: own                               # of timm; or average, max, flatten, {kind: conv1x1, channels: N}
  trains: all                             # or head, or names of modules
  levels: none                            # or {1: weight, 2: weight}: levels learnt beside the category (multiclass)
  labels: all                             # or {least: N, most: M}: those of so many products (multilabel)
  class_weights: none                     # or balanced (multilabel)
  sampling: uniform                       # or balanced: rare labels more often (multilabel)
  features: computed                      # or stored: a frozen backbone runs once
  joint: none                             # or tiled, fused: answers once for all images of a product
  images: all                             # or 2, or {least: N, most: M}: sees only products of so many images
views: [plain, hflip]
means: {order: [views, members, images], views: arithmetic, members: arithmetic, images: arithmetic, weights: {}}
duplicates: {images: unique, products: unique}
"""
"""What a file need not say. Besides: `combinations` is one of all members, a member's `split` the only one of the
file, its `seed` a hash of its name; a split has `group: product` and keeps duplicate images."""

_POWERS = {"arithmetic": 1.0, "square_roots": 0.5, "geometric": 0.0, "harmonic": -1.0}
_PLURALITY = "plurality"
_KEYS = ("name", "task", "blend", "splits", "defaults", "members", "views", "means", "combinations", "duplicates")
_AXES = ("views", "members", "images")


def load(path: Path) -> Ensemble:
    """The ensemble of a file. Raises BadInputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(str(path), "there is no such file", remedy="see ensembles/ for examples") from None
    except IsADirectoryError:
        raise BadInputError(str(path), "it is a folder", remedy=_inside(path)) from None
    except OSError as error:
        raise BadInputError(str(path), f"cannot be read: {error.strerror}", remedy="check its permissions") from None
    except UnicodeDecodeError as error:
        raise BadInputError(str(path), f"cannot be read: {error}", remedy="save it as UTF-8 text") from None
    return parse(text, str(path), architectures())


def _inside(folder: Path) -> str:
    files = sorted(file.name for file in folder.glob("*.y*ml"))
    return f"name a file in it, such as {folder / files[0]}" if files else "name an ensemble file; see ensembles/"


def parse(text: str, where: str, architectures: Mapping[str, tuple[str, ...]]) -> Ensemble:
    """The ensemble of `text`; `where` names it in errors, `architectures` maps timm names to their weights' tags."""
    top = read(where, text).mapping(_KEYS, ("name", "splits", "members"))
    table = read("the built-in defaults", DEFAULTS).mapping()
    task = cast(Task, top.get("task", table["task"]).choice(get_args(Task)))
    blend = top.get("blend", table["blend"]).number(0.0, 1.0, below=True)
    splits = {name: _split(value, blend) for name, value in top["splits"].entries("split").items()}
    layers = [table["defaults"], *([top["defaults"]] if "defaults" in top else [])]
    entries = top["members"].entries("member")
    member_file.check_defaults(layers[-1])
    made = {name: _phases(name, entries, layers, splits, architectures) for name in entries}
    places = {name: place for phases in made.values() for name, (place, _) in phases.items()}
    members = {name: one for phases in made.values() for name, (_, one) in phases.items()}
    _check_graph(members, places)
    for name, one in members.items():
        label_keys.check_task(one, task, places[name])
    combinations = _combinations(top.get("combinations"), tuple(entries), members)
    for name, chosen in combinations.items():
        place = top["combinations"].mapping()[name] if "combinations" in top else top["members"]
        joint_keys.check_combination([members[one] for one in chosen], place)
    means = _means(_over(top.get("means"), table["means"]), members, task)
    joint_keys.check_order(means.order, members.values(), top.get("means", top["members"]))
    duplicates = _over(top.get("duplicates"), table["duplicates"])
    return Ensemble(
        name=top["name"].name(),
        task=task,
        splits=splits,
        members=members,
        views=_views(top.get("views", table["views"])),
        means=means,
        combinations=combinations,
        image_duplicates=_image_policy(duplicates["images"], task),
        product_duplicates=cast(ProductPolicy, duplicates["products"].choice(get_args(ProductPolicy))),
    )


def render(ensemble: Ensemble) -> str:
    """The resolved file as YAML, every default written out: `parse` makes an equal ensemble of it."""
    splits = {
        name: {k: getattr(split, k) for k in ("seed", "holdout", "group", "drop_duplicate_images")}
        for name, split in ensemble.splits.items()
    }
    split_names = {split: name for name, split in reversed(list(ensemble.splits.items()))}
    means: dict[str, Any] = {axis: {"power": getattr(ensemble.means, axis).power} for axis in _AXES}
    if ensemble.means.members.votes:
        means["members"] = _PLURALITY
    document = {
        "name": ensemble.name,
        "task": ensemble.task,
        "blend": max((split.blend for split in ensemble.splits.values()), default=0.0),
        "splits": splits,
        "members": {n: member_file.render(m, split_names[m.split]) for n, m in ensemble.members.items()},
        "views": list(ensemble.views),
        "means": {"order": list(ensemble.means.order), **means, "weights": dict(ensemble.means.weights)},
        "combinations": {name: list(members) for name, members in ensemble.combinations.items()},
        "duplicates": {"images": ensemble.image_duplicates, "products": ensemble.product_duplicates},
    }
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


@lru_cache(maxsize=1)
def architectures() -> dict[str, tuple[str, ...]]:
    """Names of networks that the pinned timm knows, with the tags of their weights (shipped as data)."""
    lines = (resources.files("shared") / "architectures.txt").read_text(encoding="utf-8").splitlines()
    return {name: tuple(tags) for name, *tags in (line.split() for line in lines)}


def _image_policy(value: Value, task: Task) -> ImagePolicy:
    policy = cast(ImagePolicy, value.choice(get_args(ImagePolicy)))
    if task == "multilabel" and policy in ONE_CATEGORY_POLICIES:
        raise value.error(f"{policy} is of one category per product", "write none, unique, majority or l1")
    return policy


def _split(value: Value, blend: float) -> Split:
    keys = value.mapping(("seed", "holdout", "group", "drop_duplicate_images"), ("seed", "holdout"))
    group = keys["group"].choice(("product", "duplicates")) if "group" in keys else "product"
    holdout = keys["holdout"].number(0.0, 1.0, below=True)
    if holdout + blend >= 1.0:
        raise keys["holdout"].error("with the blend part nothing is left to train on", "lower holdout or blend")
    return Split(
        seed=keys["seed"].integer(0, 2**63 - 1),
        holdout=holdout,
        group="duplicates" if group == "duplicates" else "product",
        drop_duplicate_images="drop_duplicate_images" in keys and keys["drop_duplicate_images"].boolean(),
        blend=blend,
    )


def _check_graph(members: Mapping[str, Member], entries: Mapping[str, Value]) -> None:
    for name, parent in rules.parents(members).items():
        if parent not in members:
            remedy = rules.nearest(parent, members) or f"members: {', '.join(members)}"
            raise entries[name].error(f"init names the member '{parent}', which is not in the file", remedy)
    if loop := rules.cycle(rules.parents(members)):
        reason = f"members start from each other: {' <- '.join(loop)}"
        raise entries[loop[0]].error(reason, "let one of them start from imagenet or none")
    for name, member in members.items():
        if not member.init.as_published and (ancestor := rules.saw_holdout(name, members)):
            reason = f"starts from '{ancestor}', which trains on products of this member's holdout"
            raise entries[name].error(reason, "give both the same split, or say as_published: true")


def _views(value: Value) -> tuple[str, ...]:
    names = [item.choice(domain_views.NAMES) for item in value.items()]
    for item, name in zip(value.items(), names, strict=True):
        if names.count(name) > 1:
            raise item.error(f"the view '{name}' is named twice", "name it once")
    if not names:
        raise value.error("there is no view", "write [plain]")
    return tuple(names)


def _means(keys: dict[str, Value], members: Collection[str], task: Task) -> Means:
    order = [item.choice(_AXES) for item in keys["order"].items()]
    if sorted(order) != sorted(_AXES):
        raise keys["order"].error("names each of views, members and images once", "write [views, members, images]")
    weights = keys["weights"].mapping(members)
    return Means(
        order=cast(tuple[Axis, Axis, Axis], tuple(order)),
        views=_mean(keys["views"]),
        members=_mean_of_members(keys["members"], task),
        images=_mean(keys["images"]),
        weights={name: value.number(0.0, above=True) for name, value in weights.items()},
    )


def _mean_of_members(value: Value, task: Task) -> Mean:
    if not value.is_mapping and value.choice((*_POWERS, _PLURALITY)) == _PLURALITY:
        if task == "multilabel":
            raise value.error("a vote is for one category", "write arithmetic, square_roots, geometric or harmonic")
        return Mean(votes=True)
    return _mean(value)


def _mean(value: Value) -> Mean:
    if value.is_mapping:
        return Mean(power=value.mapping(("power",), ("power",))["power"].number(-100.0, 100.0))
    return Mean(power=_POWERS[value.choice(_POWERS)])


def _phases(
    name: str,
    entries: Mapping[str, Value],
    layers: Sequence[Value],
    splits: Mapping[str, Split],
    architectures: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[Value, Member]]:
    found = member_file.phases(name, [entries[name], *reversed(layers)], splits, architectures)
    for taken in (found.keys() - {name}) & entries.keys():
        raise entries[taken].error(f"a phase of '{name}' has this name", "rename the member")
    return found


def _combinations(value: Value | None, own: tuple[str, ...], members: Collection[str]) -> dict[str, tuple[str, ...]]:
    """`own` are the members of the file, all but early phases of others: those are meant only where they are named."""
    if value is None:
        return {"all": own}
    found = {}
    for name, entry in value.entries("combination").items():
        for item in entry.items():
            if item.text() != rules.RANGE:
                item.choice(members)
        try:
            found[name] = rules.expand([item.text() for item in entry.items()], own)
        except ValueError as error:
            raise entry.error(str(error), f"members in order: {', '.join(own)}") from None
        if not found[name]:
            raise entry.error("names no member", "name at least one")
    return found


def _over(given: Value | None, table: Value) -> dict[str, Value]:
    known = table.mapping()
    return known if given is None else known | given.mapping(known)
