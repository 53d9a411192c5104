"""A member that trains in about a second: 32 px, one of timm's test networks."""

from shared.domain.ensemble import Init, Input, Member, Schedule, Split

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
    augment=("hflip",),
    schedule=Schedule(kind="cosine", rate=2e-3, warmup=0.5),
    precision="auto",
    init=Init(),
)
