"""Joint members in ensemble files."""

import pytest

from shared.domain.product_images import Joint
from tests.ensemble_texts import kept, refusal

FILE = """
name: joint
splits: {A: {seed: 1, holdout: 0.1}}
defaults: {epochs: 1, model: resnet18, input: {size: 96}}
members:
  each: {}
  grid: {joint: {kind: tiled, most: 9}}
  sum: {joint: fused, head: {kind: average, hidden: 32}}
  largest: {joint: {kind: fused, by: maximum, most: 8}, head: max}
means: {order: [views, images, members]}
"""


def test_a_file_says_who_answers_for_products() -> None:
    found = kept(FILE)
    assert [member.joint for member in found.members.values()] == [
        Joint(),
        Joint(kind="tiled", most=9),
        Joint(kind="fused"),
        Joint(kind="fused", by="maximum", most=8),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "means: {order: [views, images, members]}\n",
            "",
            "line 6: members: 'grid' answers once for a product, so images come before members; write means: {order:",
        ),
        ("[views, images, members]", "[members, views, images]", "line 10: means: 'grid' answers once for a product"),
        ("most: 9}", "most: 8}", "line 7: members.grid.joint.most: 8 tiles make no square; write 4, 9, 16"),
        ("size: 96", "size: 100", "an input of 100 cannot be cut into 3 x 3 tiles; use an input's size that 3 divides"),
        ("head: max", "head: flatten", "line 9: members.largest.joint: what is fused is what a pooled map says; add"),
        ("kind: tiled, most: 9", "kind: tiled, by: gated", "line 7: members.grid.joint.by: images that are tiled are"),
        ("joint: fused", "joint: fussed", "line 8: members.sum.joint: unknown value 'fussed'; did you mean 'fused'?"),
        ("most: 8}", "most: 0}", "line 9: members.largest.joint.most: 0 is not from 1 to 64"),
    ],
)
def test_mistakes_are_told_with_their_line(old: str, new: str, said: str) -> None:
    assert said in refusal(FILE.replace(old, new, 1))
