"""Views: the deterministic variations of an image at test time that an ensemble file may name."""

from dataclasses import dataclass

from shared.domain.errors import BadInputError

CROP = 0.875
"""Side of a crop as a fraction of the image's side, as in the usual 224 of 256."""


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """A box as fractions of the image, (top, left, height, width) in [0, 1], and whether it is mirrored left to right.

    The box is cut out of the resized square and brought back to the network's size.
    """

    box: tuple[float, float, float, float]
    mirrored: bool

    @property
    def whole(self) -> bool:
        """Whether the box is the whole image."""
        return self.box == _WHOLE


_WHOLE = (0.0, 0.0, 1.0, 1.0)
_REST = 1 - CROP
_CORNERS = {
    "center": (_REST / 2, _REST / 2),
    "top_left": (0.0, 0.0),
    "top_right": (0.0, _REST),
    "bottom_left": (_REST, 0.0),
    "bottom_right": (_REST, _REST),
}
_SPECS = {"plain": ViewSpec(_WHOLE, False), "hflip": ViewSpec(_WHOLE, True)}
for _corner, (_top, _left) in _CORNERS.items():
    _SPECS[f"crop_{_corner}"] = ViewSpec((_top, _left, CROP, CROP), False)
    _SPECS[f"crop_{_corner}_hflip"] = ViewSpec((_top, _left, CROP, CROP), True)

NAMES = tuple(_SPECS)
"""Every view that an ensemble file may name."""


def parse(name: str) -> ViewSpec:
    """The view of this name. Raises BadInputError with the names there are."""
    spec = _SPECS.get(name)
    if spec is None:
        raise BadInputError("views", f"there is no view '{name}'", remedy=f"use any of {', '.join(NAMES)}")
    return spec
