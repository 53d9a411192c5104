"""The scores that a job has kept, where they are those of all classes."""

from io import BytesIO

import numpy as np
import numpy.typing as npt

from shared.domain.records import Job
from shared.ports import Jobs, Objects

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


def scores(objects: Objects, jobs: Jobs, job: Job, combination: str, product_id: Int64, classes: int) -> Float32 | None:
    """What a combination gives to every class, duplicates heeded: float32[n, classes], 0 for products without answer.

    None where the job keeps no scores, or those of the best classes only.
    """
    if not job.options.keep_scores:
        return None
    order = np.argsort(product_id)
    found = np.zeros((len(product_id), classes), dtype=np.float32)
    for chunk in jobs.chunks(job.id, ["done"]):
        if not chunk.scores:  # nothing of it was left to answer
            continue
        kept = np.load(BytesIO(objects.read(chunk.scores)), allow_pickle=False)
        if kept["class_index"].shape[2] < classes:
            return None
        place = np.minimum(np.searchsorted(product_id[order], kept["product"]), len(order) - 1)
        mine = np.flatnonzero(product_id[order][place] == kept["product"])
        column = kept["combination"].tolist().index(combination)
        rows = order[place[mine]][:, None]
        found[rows, kept["class_index"][mine, column]] = kept["probability"][mine, column]
    return found
