"""Categorisation accuracy of a job: per combination, with and without duplicates, each figure with n and interval."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.domain import ensemble_rules, intervals, splits
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.errors import BadInputError
from shared.domain.intervals import Accuracy
from shared.domain.records import EnsembleVersion, Job
from shared.domain.taxonomy import Taxonomy
from shared.exports import stored_outcomes
from shared.packs import read_indexes, read_manifest
from shared.ports import Jobs, Objects

_WHOLE = ("succeeded", "finished with errors")


@dataclass(frozen=True, slots=True)
class CombinationAccuracy:
    """One combination's figures; None where the job has nothing to judge by."""

    combination: str
    with_duplicates: Accuracy | None
    without_duplicates: Accuracy | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found. `unknown` labels name no product of the job; `errors` are products without an answer."""

    job: str
    labels: int
    unknown: int
    errors: int
    state: str
    skipped_decided: bool
    own_dataset: bool
    combinations: tuple[CombinationAccuracy, ...]

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def notes(self) -> list[str]:
        """What a reader must know beside the figures."""
        found = [f"{self.labels - self.unknown:,} labelled products {'in this job' if self.own_dataset else 'judged'}"]
        if self.state not in _WHOLE:
            found.append(f"the job is {self.state}: only what it has answered so far is judged")
        if self.unknown:
            found.append(f"{self.unknown:,} labels name no product of this job")
        if self.errors:
            found.append(f"{self.errors:,} judged products have an error and count as wrong")
        if self.skipped_decided:
            found.append(
                "products decided by duplicates skipped the networks: score with --no-skip-decided for figures without"
            )
        if self.own_dataset:
            found.append(
                "the ensemble's own dataset: judged without duplicates, on products that every member, and what it "
                "started from, held out"
            )
            none = [c.combination for c in self.combinations if c.without_duplicates is None]
            if none:
                found.append(f"no figure for {', '.join(none)}: not one labelled product was held out by all of it")
        return found


def read_labels(path: Path, taxonomy: Taxonomy) -> dict[int, int]:
    """Product id -> category id from a CSV with the header `_id,category_id`. Raises BadInputError naming the line."""
    labels: dict[int, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"_id", "category_id"} <= set(reader.fieldnames or ()):
                raise BadInputError(
                    str(path), "no columns _id and category_id", position="line 1", remedy="add that header"
                )
            for row in reader:
                product, category = _label(path, reader.line_num, row)
                if labels.setdefault(product, category) != category:
                    raise BadInputError(
                        str(path),
                        f"product {product} has two categories",
                        position=f"line {reader.line_num}",
                        remedy="keep one",
                    )
    except UnicodeDecodeError as error:
        raise BadInputError(
            str(path), "not UTF-8", position=f"offset {error.start}", remedy="save it as UTF-8"
        ) from None
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", remedy="name a readable CSV") from None
    _refuse_unknown(path, labels, taxonomy)
    return labels


def _label(path: Path, line: int, row: Mapping[str, str | None]) -> tuple[int, int]:
    try:
        return int(row["_id"] or ""), int(row["category_id"] or "")
    except ValueError:
        raise BadInputError(
            str(path), "_id and category_id must be whole numbers", position=f"line {line}", remedy="correct the line"
        ) from None


def _refuse_unknown(path: Path, labels: Mapping[int, int], taxonomy: Taxonomy) -> None:
    if not labels:
        raise BadInputError(str(path), "no labels", remedy="one line per product below the header")
    categories = np.array(sorted(set(labels.values())), dtype=np.int64)
    unknown = categories[taxonomy.index_of(categories) < 0]
    if len(unknown):
        raise BadInputError(
            str(path),
            f"category {unknown[0]} is not in the ensemble's category table",
            remedy="use the table it was trained with",
        )


def evaluate(objects: Objects, jobs: Jobs, job: Job, version: EnsembleVersion, labels: Mapping[int, int]) -> Evaluation:
    """Judge `job` by `labels`; a product with an error counts as wrong.

    A job over the ensemble's own training dataset is judged only on products that every member of a combination held
    out, and without duplicates, because the job's duplicate table knows their labels.
    """
    ensemble = from_plain(version.document)
    own = job.dataset_fingerprint == version.dataset_fingerprint
    skipped = job.options.skip_decided
    if own and skipped:
        raise BadInputError(
            f"job {job.id}",
            "scored its own training dataset and skipped decided products",
            remedy="score --no-skip-decided",
        )
    judged = _held_out(objects, job.dataset, ensemble) if own else None
    hits = {name: [0, 0, 0] for name in ensemble.combinations}  # judged, right with duplicates, right without
    found = errors = 0
    for outcome in stored_outcomes(jobs, job.id):
        category = labels.get(outcome.product)
        if category is None:
            continue
        found += 1
        judging = [name for name in hits if judged is None or outcome.product in judged[name]]
        errors += bool(outcome.error and judging)
        for name in judging:
            counts = hits[name]
            counts[0] += 1
            counts[1] += _says(outcome.predictions, name, category)
            counts[2] += _says(outcome.model_only, name, category)
    if not found:
        raise BadInputError("--labels", "none of its products is in this job", remedy="name the labels of this dataset")
    combinations = tuple(
        CombinationAccuracy(
            name,
            with_duplicates=None if own or not n else intervals.accuracy(right, n),
            without_duplicates=None if skipped or not n else intervals.accuracy(right_alone, n),
        )
        for name, (n, right, right_alone) in hits.items()
    )
    return Evaluation(
        job=job.id,
        labels=len(labels),
        unknown=len(labels) - found,
        errors=errors,
        state=job.state,
        skipped_decided=skipped,
        own_dataset=own,
        combinations=combinations,
    )


def _says(predictions: Mapping[str, Any], combination: str, category: int) -> bool:
    prediction = predictions.get(combination)
    return prediction is not None and prediction["category_id"] == category


def _held_out(objects: Objects, dataset: str, ensemble: Ensemble) -> dict[str, set[int]]:
    """Per combination: the products that every one of its members held out, and every run its weights started from."""
    parent_of = ensemble_rules.parents(ensemble.members)
    by_split: dict[str, set[int]] = {s.digest: set() for m in ensemble.members.values() for s in [m.split]}
    definitions = {m.split.digest: m.split for m in ensemble.members.values()}
    for _, index in read_indexes(objects, read_manifest(objects, dataset)):
        for digest, definition in definitions.items():
            part = splits.assign(definition, index.product_id, index.first_image, index.image_md5)
            by_split[digest].update(index.product_id[part == splits.HOLDOUT].tolist())
    return {
        name: set.intersection(
            *(
                by_split[ensemble.members[seen_by].split.digest]
                for member in members
                for seen_by in (member, *ensemble_rules.ancestors(member, parent_of))
            )
        )
        for name, members in ensemble.combinations.items()
    }
