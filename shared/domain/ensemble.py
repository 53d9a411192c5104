"""Ensemble files, resolved: what a file says once its defaults are filled in.

Nothing here needs timm or a device: the network's own mean and deviation and `auto` stay symbolic, so a laptop and a
cluster compute the same run ids.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shared.domain.digests import digest

TRAINING_VERSION = 1
"""Raised only when equal inputs would give other weights."""

Fit = Literal["squash", "crop", "pad"]
Axis = Literal["views", "members", "images"]
ImagePolicy = Literal["none", "unique", "majority", "l1", "l2", "softmax"]
ProductPolicy = Literal["none", "unique", "majority"]
View = str  # a name that `shared.domain.views` knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """How a picture becomes a square tensor. `mean` and `std` are empty for the network's own."""

    size: int
    fit: Fit = "squash"
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    antialias: bool = True
    pad_colour: tuple[int, int, int] = (255, 255, 255)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A seeded division by product. `holdout` is the share set aside."""

    seed: int
    holdout: float
    group: Literal["product", "duplicates"] = "product"
    drop_duplicate_images: bool = False
    blend: float = 0.0

    @property
    def digest(self) -> str:
        """Names the split's files: the first 16 hex digits of its definition's digest."""
        return digest(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning rate by epoch.

    `steps`: `rates` pairs the first epoch (1-based) with its rate. `cosine`: from `rate` down to `floor` over all
    epochs, after `warmup` epochs that rise linearly.
    """

    kind: Literal["steps", "cosine"] = "cosine"
    rates: tuple[tuple[int, float], ...] = ()
    rate: float = 0.0
    floor: float = 0.0
    warmup: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """Initial weights: none, imagenet, a file (object key) or another member of the same file."""

    kind: Literal["none", "imagenet", "file", "member"] = "none"
    name: str = ""
    as_published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of an ensemble."""

    name: str
    model: str
    input: Input
    split: Split
    epochs: int
    seed: int
    batch_size: int
    optimizer: Literal["nadam", "adamw"]
    weight_decay: float
    label_smoothing: float
    augment: tuple[str, ...]
    schedule: Schedule
    precision: Literal["auto", "float32", "bf16", "fp16"]
    init: Init


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A power mean: 1 arithmetic, 0 geometric, -1 harmonic, any other k."""

    power: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Which axis is averaged first, second, third, by which mean; weights of members not named are 1."""

    order: tuple[Axis, Axis, Axis] = ("views", "members", "images")
    views: Mean = field(default_factory=Mean)
    members: Mean = field(default_factory=Mean)
    images: Mean = field(default_factory=Mean)
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A resolved ensemble file. Mappings keep the file's order; the last combination is the default."""

    name: str
    task: Literal["multiclass"]
    splits: Mapping[str, Split]
    members: Mapping[str, Member]
    views: tuple[View, ...]
    means: Means
    combinations: Mapping[str, tuple[str, ...]]
    image_duplicates: ImagePolicy
    product_duplicates: ProductPolicy

    def plain(self) -> dict[str, Any]:
        """JSON values from which `from_plain` makes an equal ensemble."""
        return asdict(self)

    @property
    def default_combination(self) -> str:
        """The name of the last combination."""
        return next(reversed(list(self.combinations)))


def from_plain(plain: Mapping[str, Any]) -> Ensemble:
    """The ensemble of what `plain` made, also after a round trip through JSON or YAML."""
    means = plain["means"]
    return Ensemble(
        name=plain["name"],
        task=plain["task"],
        splits={name: Split(**split) for name, split in plain["splits"].items()},
        members={name: member_from_plain(member) for name, member in plain["members"].items()},
        views=tuple(plain["views"]),
        means=Means(
            order=tuple(means["order"]),
            views=Mean(**means["views"]),
            members=Mean(**means["members"]),
            images=Mean(**means["images"]),
            weights=means["weights"],
        ),
        combinations={name: tuple(members) for name, members in plain["combinations"].items()},
        image_duplicates=plain["image_duplicates"],
        product_duplicates=plain["product_duplicates"],
    )


def _input(plain: Mapping[str, Any]) -> Input:
    red, green, blue = plain["pad_colour"]
    colours = {"pad_colour": (red, green, blue), "mean": tuple(plain["mean"]), "std": tuple(plain["std"])}
    return Input(**{**plain, **colours})


def member_from_plain(plain: Mapping[str, Any]) -> Member:
    """The member of `asdict(member)`, also after a round trip through JSON or YAML."""
    return Member(
        **{
            **plain,
            "input": _input(plain["input"]),
            "split": Split(**plain["split"]),
            "augment": tuple(plain["augment"]),
            "schedule": Schedule(
                **{**plain["schedule"], "rates": tuple((int(e), float(r)) for e, r in plain["schedule"]["rates"])}
            ),
            "init": Init(**plain["init"]),
        }
    )


def run_definition(member: Member, *, dataset: str, taxonomy: str, parent: str) -> dict[str, Any]:
    """What a run's id is the digest of: `dataset` and `taxonomy` are fingerprints, `parent` the run it starts from."""
    resolved = asdict(member)
    del resolved["name"]
    if member.init.kind == "member":
        resolved["init"]["name"] = ""  # names in a file never count: `parent` says which weights these are
    return {
        "training_version": TRAINING_VERSION,
        "member": resolved,
        "dataset": dataset,
        "taxonomy": taxonomy,
        "parent": parent,
    }


def run_id(definition: Mapping[str, Any]) -> str:
    """A run's id: 16 hex digits."""
    return digest(definition)
