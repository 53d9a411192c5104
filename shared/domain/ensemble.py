"""Ensemble files, resolved: what a file says once its defaults are filled in.

Nothing here needs timm or a device: the network's own mean and deviation and `auto` stay symbolic, so a laptop and a
cluster compute the same run ids (`shared.domain.definitions`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shared.domain.digests import digest
from shared.domain.product_images import ImageRange, Joint

Task = Literal["multiclass", "multilabel"]
Fit = Literal["squash", "crop", "pad"]
Axis = Literal["views", "members", "images"]
ImagePolicy = Literal["none", "unique", "majority", "l1", "l2", "softmax"]
ProductPolicy = Literal["none", "unique", "majority"]
ONE_CATEGORY_POLICIES = ("l2", "softmax")
"""Policies for images that make no probabilities of labels."""
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


ScheduleKind = Literal["steps", "cosine", "polynomial", "exponential", "cyclic", "cyclic_exponential", "plateau"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning rate by step, in epochs; what a kind does not use keeps its default.

    Every kind begins with `warmup` epochs that rise linearly. Then `steps`: `rates` pairs the first epoch (1-based)
    with its rate. `cosine`, `polynomial` (of `power`): from `rate` down to `floor` over the epochs that are left.
    `exponential`: `rate` times `decay` to the power of the epochs since warm-up, never below `floor`. `cyclic`: from
    `floor` up to `rate` and back in `cycle` epochs, again and again; `cyclic_exponential` shrinks the rise by `decay`
    per epoch. `plateau`: `rate`, times `factor` whenever the watched loss has not improved for `patience` epochs, never
    below `floor`.
    """

    kind: ScheduleKind = "cosine"
    rates: tuple[tuple[int, float], ...] = ()
    rate: float = 0.0
    floor: float = 0.0
    warmup: float = 0.0
    power: float = 1.0
    decay: float = 1.0
    cycle: float = 0.0
    factor: float = 0.1
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One random change of a training picture; what `amount` means depends on the name (`workers.training.augment`)."""

    name: str
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """Initial weights: none, imagenet, a file (object key) or another member of the same file."""

    kind: Literal["none", "imagenet", "file", "member"] = "none"
    name: str = ""
    as_published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRange:
    """The labels that a member of a multilabel ensemble learns: those of so many products of its training part."""

    least: int = 0
    most: int = 0  # 0: any number


HeadKind = Literal["own", "average", "max", "flatten", "conv1x1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What follows a network's last feature map: timm's `own`, or a pooling, the flattened map, or a 1 x 1 convolution
    to `channels` with a batch norm and the flattened map; then dropout and a dense layer. `batch_norm`: one before all.
    `hidden`: a dense layer of so many outputs and a ReLU before the last.
    """

    kind: HeadKind = "own"
    channels: int = 0
    dropout: float = 0.0
    batch_norm: bool = False
    hidden: int = 0


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
    optimizer: Literal["nadam", "adamw", "sgd"]
    weight_decay: float
    label_smoothing: float
    augment: tuple[Augmentation, ...]
    schedule: Schedule
    precision: Literal["auto", "float32", "bf16", "fp16"]
    init: Init
    momentum: float = 0.9  # of sgd
    accumulate: int = 1  # parts of a batch that go through the network one by one before the weights change
    clip_norm: float = 0.0  # largest norm of the gradient of all weights; 0: any
    ema: float = 0.0  # decay per step of the averaged weights, which are then the ones kept; 0: none
    plain_epochs: int = 0  # last epochs without augmentation
    head: Head = field(default_factory=Head)
    trains: tuple[str, ...] = ()  # modules that learn, `head` among them; empty: all
    early_stopping: int = 0  # epochs without a better watched loss after which training ends, keeping the best; 0: none
    labels: LabelRange = field(default_factory=LabelRange)
    class_weights: Literal["none", "balanced"] = "none"  # of the loss of labels that are there
    sampling: Literal["uniform", "balanced"] = "uniform"  # balanced: pictures of rare labels are drawn more often
    features: Literal["computed", "stored"] = "computed"  # stored: the frozen backbone runs once
    images: ImageRange = field(default_factory=ImageRange)  # of the products that it sees
    joint: Joint = field(default_factory=Joint)
    levels: tuple[float, ...] = ()  # weights of the losses of level 1 and 2, beside that of the category; empty: none
    share: float = 1.0  # of the products of its training part that it learns from


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A power mean: 1 arithmetic, 0 geometric, -1 harmonic, any other k.

    `votes`, of members only: each gives its weight to its best class (plurality voting), and `VOTE_REST` of its
    probabilities beside it, so that equal votes are decided by them.
    """

    power: float = 1.0
    votes: bool = False


VOTE_REST = 1e-4
"""What of a member's probabilities enters beside its vote: too little to outvote anything but a tie."""


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
    task: Task
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


def _augmentation(plain: str | Mapping[str, Any]) -> Augmentation:
    return Augmentation(plain) if isinstance(plain, str) else Augmentation(**plain)  # a bare name in definitions


def _schedule(plain: Mapping[str, Any]) -> Schedule:
    rates = tuple((int(epoch), float(rate)) for epoch, rate in plain.get("rates", ()))
    return Schedule(**{**plain, "rates": rates})


def member_from_plain(plain: Mapping[str, Any]) -> Member:
    """The member of `asdict(member)`, also after a round trip through JSON or YAML."""
    return Member(
        **{
            **plain,
            "input": _input(plain["input"]),
            "split": Split(**plain["split"]),
            "augment": tuple(_augmentation(augmentation) for augmentation in plain["augment"]),
            "schedule": _schedule(plain["schedule"]),
            "init": Init(**plain["init"]),
            "head": Head(**plain.get("head", {})),
            "labels": LabelRange(**plain.get("labels", {})),
            "images": ImageRange(**plain.get("images", {})),
            "joint": Joint(**plain.get("joint", {})),
            "trains": tuple(plain.get("trains", ())),
            "levels": tuple(plain.get("levels", ())),
        }
    )
