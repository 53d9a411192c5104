"""A member that trains in about a second: 32 px, one of timm's test networks; and who interrupts it."""

from shared.domain.ensemble import Augmentation, Init, Input, Member, Schedule, Split

MEMBER = Member(
    name="tiny",
    model="test_resnet",
    input=Input(size=32),
    split=Split(seed=7, holdout=0.25),
    epochs=3,
    seed=11,
    batch_size=8,
    optimizer="nadam",
    weight_decay=0.0,
    label_smoothing=0.1,
    augment=(Augmentation(name="hflip"),),
    schedule=Schedule(kind="cosine", rate=2e-3, warmup=0.5),
    precision="auto",
    init=Init(),
)


class Preempted:
    """Asks to go after so many questions, once."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0
