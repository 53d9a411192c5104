"""A training dataset, an ensemble version over it and a job whose answers a test chooses, product by product."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from services.reports import judging
from services.reports.evaluation import Evaluation
from shared import ensemble_file, layout, wiring
from shared.domain import predictions, splits, taxonomy
from shared.domain.ensemble import Split
from shared.domain.records import Chunk, EnsembleVersion, Job, JobOptions, Outcome
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels
from shared.packs import Manifest, read_index
from shared.settings import Settings

FILE = """
name: tiny
splits: {A: {seed: 1, holdout: 0.5}, B: {seed: 2, holdout: 0.5}, all: {seed: 3, holdout: 0.0}}
defaults: {input: {size: 32}, epochs: 1, model: test_resnet}
members:
  a: {split: A}
  b: {split: B}
  child: {split: A, init: {member: b}, as_published: true}
  greedy: {split: all}
combinations: {one: [a], two: [a, b], warm: [child], none: [greedy], last: [a]}
"""
IDS = range(100, 140)


def labels_of(known: Mapping[int, int]) -> Labels:
    """A label file: product id -> category id."""
    rows = sorted(known.items())
    ids, categories = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Labels("labels.csv", ids, categories, np.arange(2, 2 + len(rows)))


@dataclass(frozen=True)
class Answer:
    """What every combination says of one product, with duplicates and without: (class index, probability)."""

    both: tuple[int, float] = (0, 0.9)
    alone: tuple[int, float] | None = (0, 0.9)
    source: str = "model"
    error: str = ""
    decision: str = ""


@dataclass
class Scene:
    """The training dataset `tiny` (ids 100 to 139, category 1000 + id % 3), and `other`: equal ids, other pictures."""

    home: Path
    make_dataset: Callable[..., Manifest]
    answers: dict[int, Answer] = field(default_factory=dict)
    default: Answer = field(default_factory=Answer)

    def __post_init__(self) -> None:
        self.stores = wiring.stores(Settings(home=self.home))
        self.training = self.make_dataset(self.stores.objects)
        other = self.make_dataset(self.stores.objects, "other", spoiled=frozenset(IDS))
        self.ensemble = ensemble_file.parse(FILE, "tiny.yaml", ensemble_file.architectures())
        self.version = EnsembleVersion(
            name="tiny",
            version="v",
            document=self.ensemble.plain(),
            runs={name: f"run-{name}" for name in self.ensemble.members},
            dataset="tiny",
            dataset_fingerprint=self.training.fingerprint,
            taxonomy=self.training.taxonomy,
            duplicate_table="",
        )
        self.job = Job(
            id="j",
            dataset="other",
            dataset_fingerprint=other.fingerprint,
            ensemble="tiny",
            version="v",
            options=JobOptions(image_duplicates="unique", product_duplicates="unique", skip_decided=False),
            products=40,
            images=60,
            state="succeeded",
            precision="float32",
            batch_images=8,
            created=100.0,
            ended=160.0,
        )

    @property
    def taxonomy(self) -> Taxonomy:
        return taxonomy.parse(self.stores.objects.read(layout.categories("tiny")), "tiny")

    def on_training_dataset(self) -> None:
        """The job scored the training dataset itself."""
        self.job = replace(self.job, dataset="tiny", dataset_fingerprint=self.training.fingerprint)

    def score(self, products: Iterable[int] = IDS) -> None:
        """Store the job's outcomes, and two chunks that are done."""
        self.stores.jobs.add_outcomes(self._outcome(place, product) for place, product in enumerate(products))
        for number, seconds in enumerate(({"forward": 2.0, "decode": 1.0}, {"forward": 3.0, "write": 0.5})):
            chunk = Chunk(
                id=f"c{number}", job="j", pack=0, offset=number, length=1, position=number, products=20, images=30
            )
            done = replace(chunk, state="done", decided=number, copied=2, scored_images=29, seconds=seconds)
            self.stores.jobs.add_chunks([done])

    def _outcome(self, position: int, product: int) -> Outcome:
        answer = self.answers.get(product, self.default)
        common = {"job": "j", "product": product, "position": position, "chunk": "c0"}
        if answer.error:
            return Outcome(**common, error=answer.error)  # type: ignore[arg-type]
        names = self.ensemble.combinations
        return Outcome(
            **common,  # type: ignore[arg-type]
            source=answer.source,
            predictions=dict.fromkeys(names, self._prediction(*answer.both) | _decided(answer.decision)),
            model_only={} if answer.alone is None else dict.fromkeys(names, self._prediction(*answer.alone)),
        )

    def _prediction(self, class_index: int, probability: float) -> dict[str, object]:
        vector = np.full((1, 3), (1 - probability) / 2)
        vector[0, class_index] = probability
        return predictions.to_plain(predictions.predict(vector, self.taxonomy, 10)[0])

    def evaluate(self, known: Mapping[int, int] | None = None) -> Evaluation:
        """Judge the job; by default every product of 100 to 139 is of category 1000, which is class 0."""
        labels = labels_of(dict.fromkeys(IDS, 1000) if known is None else known)
        return judging.evaluate(self.stores.objects, self.stores.jobs, self.job, self.version, labels)

    def held_out(self, *names: str) -> set[int]:
        """The training products that all of these splits hold out."""
        index = read_index(self.stores.objects, "tiny", self.training.packs[0])
        return set.intersection(*(self._held_out(index, self.ensemble.splits[name]) for name in names))

    def _held_out(self, index: "object", split: Split) -> set[int]:
        part = splits.assign(split, index.product_id, index.first_image, index.image_md5)  # type: ignore[attr-defined]
        return set(index.product_id[part == splits.HOLDOUT].tolist())  # type: ignore[attr-defined]


def _decided(decision: str) -> dict[str, object]:
    return {"decision": decision} if decision else {}
