"""What training and fits have seen of the products that a job is judged on: nothing is judged on it (I10)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.domain import ensemble_rules, splits
from shared.domain.ensemble import Ensemble
from shared.domain.records import EnsembleVersion, Job
from shared.packs import PackIndex, read_indexes, read_manifest
from shared.ports import Objects

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Of n products: which are in the training dataset too, and which of them a combination must not be judged on.

    The duplicate table of the version knows the label of every shared product, so answers with duplicates are judged
    on the others only.
    """

    shared: Bool  # bool[n], there is a training product of the same id with the same first image
    trained: Mapping[str, Bool]  # per combination bool[n]: shared, and not held out by all it was made of, or fitted

    def take(self, rows: Int64) -> "Seen":
        """These products."""
        return Seen(self.shared[rows], {name: trained[rows] for name, trained in self.trained.items()})


def compare(objects: Objects, job: Job, version: EnsembleVersion, ensemble: Ensemble, product_id: Int64) -> Seen:
    """Look products (int64[n], ascending, distinct) of the job's dataset up in the ensemble's training dataset.

    A relabelled or grown copy of a dataset is another dataset by its fingerprint, but its products are the same ones.
    Only pack indexes are read, one at a time. Raises NotFoundError where one of the two datasets is gone.
    """
    own = job.dataset_fingerprint == version.dataset_fingerprint
    first_md5 = None if own else _first_md5(objects, job.dataset, product_id)
    digests = {member.split.digest: member.split for member in ensemble.members.values()}
    shared = np.zeros(len(product_id), dtype=np.bool_)
    held_out = {digest: np.zeros(len(product_id), dtype=np.bool_) for digest in digests}
    for _, index in read_indexes(objects, read_manifest(objects, version.dataset)):
        place, rows = _places(product_id, index)
        if first_md5 is not None:
            same = (index.image_md5[index.first_image[rows]] == first_md5[place]).all(axis=1)
            place, rows = place[same], rows[same]
        shared[place] = True
        if len(place):
            for digest, split in digests.items():
                part = splits.assign(split, index.product_id, index.first_image, index.image_md5)
                held_out[digest][place] = part[rows] == splits.HOLDOUT
    if version.imported:
        return Seen(shared, dict.fromkeys(ensemble.combinations, shared))
    unseen = {
        name: _all_held_out(ensemble, name, held_out) for name in ensemble.combinations if name not in version.fits
    }
    return Seen(shared, {name: shared & ~unseen.get(name, np.False_) for name in ensemble.combinations})


def _all_held_out(ensemble: Ensemble, combination: str, held_out: Mapping[str, Bool]) -> Bool:
    """What every member of a combination, and everything its weights started from, held out."""
    parent_of = ensemble_rules.parents(ensemble.members)
    members = {
        seen_by
        for member in ensemble.combinations[combination]
        for seen_by in (member, *ensemble_rules.ancestors(member, parent_of))
    }
    parts = [held_out[ensemble.members[member].split.digest] for member in sorted(members)]
    return np.asarray(np.logical_and.reduce(parts), dtype=np.bool_)


def _first_md5(objects: Objects, dataset: str, product_id: Int64) -> UInt64:
    """The MD5 of each product's first image, uint64[n, 2]; zeros for ids that the dataset does not have."""
    found = np.zeros((len(product_id), 2), dtype=np.uint64)
    for _, index in read_indexes(objects, read_manifest(objects, dataset)):
        place, rows = _places(product_id, index)
        found[place] = index.image_md5[index.first_image[rows]]
    return found


def _places(product_id: Int64, index: PackIndex) -> tuple[Int64, Int64]:
    """Which of the ascending ids the pack holds: their places among the ids, and their rows in the index."""
    place = np.searchsorted(product_id, index.product_id)
    rows = np.flatnonzero(product_id[np.minimum(place, len(product_id) - 1)] == index.product_id)
    return place[rows], rows
