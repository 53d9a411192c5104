"""Keys of objects: the one place that knows where anything lies in the object store."""


def manifest(dataset: str) -> str:
    """Written last: its presence means that the ingest is complete."""
    return f"datasets/{dataset}/manifest.json"


def categories(dataset: str) -> str:
    """A byte copy of the category file."""
    return f"datasets/{dataset}/categories.csv"


def label_sets(dataset: str) -> str:
    """The label sets of a multilabel dataset."""
    return f"datasets/{dataset}/label_sets.parquet"


def features(dataset: str, key: str, number: int) -> str:
    """Precomputed features of some of a member's training pictures."""
    return f"datasets/{dataset}/features/{key}/{number:05d}.npy"


def dataset_prefix(dataset: str) -> str:
    """Everything of one dataset."""
    return f"datasets/{dataset}/"


def pack(dataset: str, number: int) -> str:
    """One pack: a BSON file of whole documents."""
    return f"datasets/{dataset}/packs/{number:05d}.bson"


def pack_index(dataset: str, number: int) -> str:
    """The Parquet index beside a pack."""
    return f"datasets/{dataset}/packs/{number:05d}.parquet"


def pack_prefix(dataset: str) -> str:
    """All packs and pack indexes of a dataset."""
    return f"datasets/{dataset}/packs/"


def ingest_prefix(dataset: str) -> str:
    """Work files of an ingest, removed when it is complete."""
    return f"datasets/{dataset}/ingest/"


def ingest_pack(dataset: str, number: int) -> str:
    """The account of a pack that is written; its presence says so."""
    return f"datasets/{dataset}/ingest/{number:05d}.json"


def ingest_columns(dataset: str, number: int) -> str:
    """The index of a pack before repeated products are taken out of it."""
    return f"datasets/{dataset}/ingest/{number:05d}.npz"


def ingest_categories(dataset: str, digest: str) -> str:
    """A byte copy of the category file of an ingest that was asked of the launcher, by the digest of its bytes."""
    return f"datasets/{dataset}/ingest/categories-{digest}.csv"


def ingest_progress(dataset: str, index: int) -> str:
    """What process `index` of an ingest last said about itself."""
    return f"datasets/{dataset}/ingest/progress-{index}.json"


def relabelling(dataset: str) -> str:
    """A work file: the datasets that a relabel which has begun needs."""
    return f"datasets/{dataset}/ingest/relabel.json"


def duplicate_table(dataset: str, split: str = "all") -> str:
    """The duplicate table of all labelled products, or of one split's training part (by the split's digest)."""
    return f"datasets/{dataset}/duplicates/{split}.parquet"


def run_prefix(run: str) -> str:
    """Everything of one run."""
    return f"runs/{run}/"


def run_file(run: str, name: str) -> str:
    """A file of a run: definition.json, member.yaml, weights.safetensors, metrics.json, card.json, log.jsonl, ..."""
    return f"runs/{run}/{name}"


def run_last_lines(run: str, attempt: int) -> str:
    """The last lines of an attempt that did not end well."""
    return f"runs/{run}/attempts/{attempt}.log"


def checkpoint(run: str, attempt: int, step: int, name: str) -> str:
    """One file of a checkpoint; valid only while `checkpoint/latest.json` names it."""
    return f"runs/{run}/checkpoint/{attempt}/{step}/{name}"


def ensemble_version(name: str, version: str) -> str:
    """The YAML of an ensemble version."""
    return f"ensembles/{name}/{version}.yaml"


def pretrained(model: str) -> str:
    """Initial weights where a cluster has no internet."""
    return f"pretrained/{model}.safetensors"


def upload_request(created: float, token: str) -> str:
    """The name of a one-off request: when it began (seconds since the epoch, cut), so that what it left can be told
    from one under way, and a random token.
    """
    return f"{int(created)}-{token}"


def upload_created(key: str) -> int | None:
    """When the request of an upload's key began; None where its name does not say."""
    seconds, dash, _ = key.split("/")[1].partition("-")
    return int(seconds) if dash and seconds.isdecimal() else None


def upload(request: str, number: int) -> str:
    """One picture of a one-off request; deleted after use."""
    return f"uploads/{request}/{number}"


def job_prefix(job: str) -> str:
    """Everything of one scoring job."""
    return f"jobs/{job}/"


def job_export(job: str, name: str) -> str:
    """A job's answers as one Parquet file, made once."""
    return f"jobs/{job}/export/{name}.parquet"


def chunk_scores(job: str, chunk: str, generation: int) -> str:
    """Kept scores of a chunk; read only through the chunk row that names them."""
    return f"jobs/{job}/scores/{chunk}.{generation}.npz"
