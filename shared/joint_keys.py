"""The keys of a member about the images of a product: read with checks that name the line, and written back.

```yaml
images: all                                                                 # sees products of any number of images
images: 2                                                                   # only those of two, in training too
images: {least: 3, most: 4}                                                 # either or both
```
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shared.domain.ensemble import Member
from shared.domain.product_images import EVERY_PRODUCT, ImageRange, uncovered
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


def check_combination(members: Sequence[Member], place: Value) -> None:
    """Refuse a combination that would leave some product without an answer."""
    if number := uncovered([member.images for member in members]):
        raise place.error(
            f"no member sees products of {number} image{'s' * (number > 1)}",
            f"add one of images: {{least: {number}}}, or of images: all",
        )
