"""The keys of a member about the images of a product: read with checks that name the line, and written back.

```yaml
images: all                                                                 # sees products of any number of images
images: 2                                                                   # only those of two, in training too
images: {least: 3, most: 4}                                                 # either or both
joint: none                                                                 # answers for each image
joint: tiled                                                                # for a product: its first 4 images in one
joint: {kind: tiled, most: 9}                                               # of 3 x 3 tiles
joint: fused                                                                # asks for head: average or max
joint: {kind: fused, by: maximum, most: 8}                                  # or by: gated
```
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast, get_args

from shared import head_keys
from shared.domain.ensemble import Axis, Input, Member
from shared.domain.product_images import EACH_IMAGE, EVERY_PRODUCT, Fusion, ImageRange, Joint, JointKind, uncovered
from shared.yaml_nodes import Value

_MOST_IMAGES = 10_000


def images(value: Value) -> ImageRange:
    """The products that the member sees."""
    if value.is_mapping:
        keys = value.mapping(("least", "most"))
        found = ImageRange(**{key: number.integer(1, _MOST_IMAGES) for key, number in keys.items()})
        if found.most and found.most < found.least:
            raise value.error("no number is between these two", "write {least: 3}, {most: 2}, or a range")
        return found
    if value.text() == "all":
        return EVERY_PRODUCT
    number = value.integer(1, _MOST_IMAGES)
    return ImageRange(least=number, most=number)


def render_images(given: ImageRange) -> Any:
    """What `images` reads."""
    return "all" if given == EVERY_PRODUCT else {key: value for key, value in asdict(given).items() if value}


def joint(keys: Mapping[str, Value], given: Input) -> Joint:
    """How a member of these keys, whose input is `given`, answers once for a product, if it does."""
    value = keys["joint"]
    found = _joint(value)
    if found.kind == "tiled":
        if given.size % found.side:
            reason = f"an input of {given.size} cannot be cut into {found.side} x {found.side} tiles"
            raise value.error(reason, f"use an input's size that {found.side} divides")
        if keys["features"].text() == "stored":
            raise value.error("stored features are of single images", "leave features: stored out, or say joint: fused")
    if found.kind == "fused" and head_keys.head(keys["head"]).kind not in ("average", "max"):
        raise value.error("what is fused is what a pooled map says", "add head: average or max, also with hidden: N")
    return found


def _joint(value: Value) -> Joint:
    if not value.is_mapping:
        return Joint(kind=cast(JointKind, value.choice(get_args(JointKind))))
    keys = value.mapping(("kind", "most", "by"), ("kind",))
    kind = cast(JointKind, keys["kind"].choice(("tiled", "fused")))
    if kind == "tiled" and "by" in keys:
        raise keys["by"].error("images that are tiled are not fused", "leave it out, or say kind: fused")
    found = Joint(
        kind=kind,
        most=keys["most"].integer(1, 64) if "most" in keys else EACH_IMAGE.most,
        by=cast(Fusion, keys["by"].choice(get_args(Fusion))) if "by" in keys else EACH_IMAGE.by,
    )
    if kind == "tiled" and found.side**2 != found.most:
        raise keys["most"].error(f"{found.most} tiles make no square", "write 4, 9, 16, ...")
    return found


def render_joint(given: Joint) -> Any:
    """What `joint` reads."""
    if given.kind == "none":
        return "none"
    return {key: value for key, value in asdict(given).items() if key != "by" or given.kind == "fused"}


def check_order(order: Sequence[Axis], members: Iterable[Member], place: Value) -> None:
    """Refuse a mean over members of each image where some member answers for products."""
    named = [member.name for member in members if member.joint.kind != "none"]
    if named and order.index("images") > order.index("members"):
        reason = f"'{named[0]}' answers once for a product, so images come before members"
        raise place.error(reason, "write means: {order: [views, images, members]}")


def check_combination(members: Sequence[Member], place: Value) -> None:
    """Refuse a combination that would leave some product without an answer."""
    if number := uncovered([member.images for member in members]):
        raise place.error(
            f"no member sees products of {number} image{'s' * (number > 1)}",
            f"add one of images: {{least: {number}}}, or of images: all",
        )
