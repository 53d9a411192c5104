"""What a fit found: every figure with its n and interval, of products that were not fitted on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.reports.task import Figure
from shared.domain.fits import Fit
from shared.domain.intervals import Accuracy, Average

_ROUNDING = 1e-9  # nats


@dataclass(frozen=True, slots=True)
class Step:
    """What a fit makes of what the networks answer: of the log loss, in nats, or of label sets of the micro F1."""

    name: str
    before: Average
    after: Average
    gain: Average  # paired

    @property
    def taken(self) -> bool:
        """Whether neither chance nor rounding alone explains the gain."""
        return self.gain.low > _ROUNDING


@dataclass(frozen=True, slots=True)
class Decided:
    """The products of one source that get one decision, and how many of these are right, at its own level."""

    source: str
    decision: str
    threshold: float | None  # of all products; what is counted was decided by those of the other folds
    share: Accuracy
    right: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was fitted, and how it does on products that it was not fitted on."""

    ensemble: str
    version: str
    dataset: str
    task: str
    combination: str
    products: int  # that are judged; of label sets those that share no image with training
    undecodable: int  # products of which no image could be decoded; in no figure
    steps: tuple[Step, ...]
    left_out: Mapping[str, str]  # why there are no such steps
    unfitted: Figure
    fitted: Figure
    difference: Average  # paired
    decided: tuple[Decided, ...]  # nothing of label sets, of which what follows is
    told: Mapping[
        str, Accuracy
    ]  # by source: of what duplicates alone decide how much is right, which is its probability
    macro: tuple[Average, Average] | None  # macro F1 before and after
    without_positives: tuple[int, ...]  # category ids of labels that no product fitted on has: they keep 0.5
    fit: Fit

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        decided = [asdict(d) | {"share": d.share.plain(), "right": d.right.plain()} for d in self.decided]
        return asdict(self) | {
            "steps": [asdict(step) | {"taken": step.taken} for step in self.steps],
            "unfitted": self.unfitted.plain(),
            "fitted": self.fitted.plain(),
            "decided": decided,
            "told": {source: of.plain() for source, of in self.told.items()},
            "fit": self.fit.plain(),
        }
