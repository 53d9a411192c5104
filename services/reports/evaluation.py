"""What judging a scoring job by known categories found: every figure with its n and, where it is a share, interval."""

from dataclasses import asdict, dataclass
from typing import Any

from services.reports.confidence import Calibration, Coverage
from services.reports.label_quality import LabelQuality
from services.reports.provenance import MemberAccount, Timings
from services.reports.quality import Quality
from services.reports.task import Category, Thresholds
from shared.domain import states
from shared.domain.intervals import Accuracy
from shared.domain.records import SCHEMA


@dataclass(frozen=True, slots=True)
class CombinationFigures:
    """One combination's figures; None where the job has nothing to judge by. Of label sets, right is a whole set."""

    combination: str
    trained: int  # labelled products that are left out because it was trained on them
    with_duplicates: Accuracy | None
    without_duplicates: Accuracy | None
    quality_with_duplicates: Quality | LabelQuality | None
    quality_without_duplicates: Quality | LabelQuality | None


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The judged products that one source decided; `network`: what the networks alone say of the same ones."""

    source: str
    coverage: Accuracy
    accuracy: Accuracy
    network: Accuracy | None


@dataclass(frozen=True, slots=True)
class DecisionFigures:
    """The judged products of one source, or of all where that is empty, that got one decision."""

    decision: str
    source: str
    share: Accuracy  # of the source's products
    right: Accuracy  # at the decision's own level; for review, had the category been taken


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong answer."""

    product: int
    known: int | tuple[int, ...]  # category id; of label sets, all of them
    said: int  # category id
    probability: float
    source: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Products of one category that were put into another; `example` is the most certain of these mistakes."""

    known: int  # category id
    said: int  # category id
    count: int
    example: Mistake


@dataclass(frozen=True, slots=True)
class Detail:
    """The default combination in depth: with duplicates where that can be judged, else without; n products.

    Of label sets, coverage and calibration are of answered labels: each is an answer of its own.
    """

    combination: str
    with_duplicates: bool
    n: int
    sources: tuple[SourceFigures, ...]
    decisions: tuple[DecisionFigures, ...]  # of a fit, where judged with duplicates
    coverage: Coverage
    coverage_without_duplicates: Coverage | None  # where `coverage` is with them
    calibration: Calibration | None
    calibration_without_duplicates: Calibration | None
    categories: tuple[Category, ...]  # the worst first
    pairs: tuple[Pair, ...]
    mistakes: tuple[Mistake, ...]  # the most certain first
    thresholds: Thresholds | None  # of labels, where they were fitted


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found. `unknown` labels name no product of the job;

    Of the labelled products of the job, `judged` are judged for some combination, and `shared` are in the training
    dataset, too; of `judged`, `errors` have no answer.
    """

    job: str
    dataset: str
    ensemble: str
    version: str
    task: str
    created: float
    ended: float
    state: str
    products: int
    labels: int
    unknown: int
    judged: int
    errors: int
    shared: int
    training_dataset: str
    skipped_decided: bool
    own_dataset: bool
    combinations: tuple[CombinationFigures, ...]
    detail: Detail | None
    members: tuple[MemberAccount, ...]
    timings: Timings

    def plain(self) -> dict[str, Any]:
        """JSON values, no NaN among them; `notes` too."""
        return {"schema": SCHEMA, **asdict(self), "notes": self.notes()}

    @property
    def default(self) -> CombinationFigures:
        """The figures of the ensemble's default combination."""
        return self.combinations[-1]

    def notes(self) -> list[str]:
        """What a reader must know beside the figures."""
        found = [f"{self.judged:,} labelled products judged"]
        if self.own_dataset:
            found = [f"{self.labels - self.unknown:,} labelled products in this job"]
        if self.state not in states.ANSWERED:
            found.append(f"the job is {self.state}: only what it has answered so far is judged")
        if self.unknown:
            found.append(f"{self.unknown:,} labels name no product that this job has answered")
        if self.errors:
            found.append(f"{self.errors:,} judged products have an error and count as wrong")
        if self.skipped_decided:
            found.append(
                "products decided by duplicates skipped the networks: score with --no-skip-decided for figures without"
            )
        return found + self._notes_on_training()

    def _notes_on_training(self) -> list[str]:
        found = []
        if self.own_dataset:
            found.append(
                "the ensemble's own dataset: judged without duplicates, on products that every member, and what it "
                "started from, held out"
            )
        elif self.shared:
            left_out = self.default.trained
            found.append(
                f"{self.shared:,} labelled products are in the training dataset '{self.training_dataset}' too (same id "
                f"and first image): {left_out:,} that {self.default.combination} was trained on are left out"
                + ("" if self.skipped_decided else ", those it held out are judged without duplicates only")
            )
        none = [c.combination for c in self.combinations if not (c.with_duplicates or c.without_duplicates)]
        if none:
            found.append(f"no figure for {', '.join(none)}: not one labelled product was held out by all of it")
        return found
