"""A home for tests of retention: a whole dataset, and rows with the objects that belong to them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from shared import layout, retention, wiring
from shared.domain.ensemble import Split
from shared.domain.records import Dataset, EnsembleVersion, Ingest, Job, JobOptions, Run, Training
from shared.packs import Manifest
from shared.ports import Stores
from shared.settings import RetentionSettings, Settings

NOW = 1_000 * 86_400.0
KEEP = RetentionSettings(job_days=90, run_days=30, upload_days=1)
SPLITS = [Split(seed=seed, holdout=0.1) for seed in range(3)]
INGEST = Ingest(dataset="new", source="s", source_identity="", processes=1, pack_bytes=1, allow_bad=0, categories="")
Make = Callable[..., Manifest]


def ago(days: float) -> float:
    return NOW - days * 86_400


def run(name: str, *, split: int = 0, **values: object) -> Run:
    fields = {"state": "complete", "created": ago(100), **values}
    return Run(id=name, member="M", dataset="d", definition={"member": {"split": asdict(SPLITS[split])}}, **fields)


def job(name: str, **values: object) -> Job:
    fields = {"state": "succeeded", "ended": ago(100), "created": ago(101), **values}
    since = fields.pop("since", "")
    options = JobOptions(image_duplicates="none", product_duplicates="none", since=since)
    base = {"dataset": "d", "ensemble": "e", "version": "v0", "dataset_fingerprint": "f", "products": 1, "images": 1}
    return Job(id=name, options=options, **{**base, **fields})


def version(name: str, *runs: str, **values: object) -> EnsembleVersion:
    base = {"name": "e", "document": {}, "dataset": "d", "dataset_fingerprint": "f", "taxonomy": "t"}
    table = layout.duplicate_table("d", "all")
    return EnsembleVersion(version=name, runs={r: r for r in runs}, duplicate_table=table, **{**base, **values})


def training(name: str, *runs: str, state: str = "complete") -> Training:
    return Training(id=name, ensemble="e", dataset="d", document={}, runs={r: r for r in runs}, state=state)


class Home:
    """A store with the whole dataset `d`; rows get the objects that belong to them."""

    def __init__(self, folder: Path, make_dataset: Make) -> None:
        self.folder = folder
        self.stores: Stores = wiring.stores(Settings(home=folder))
        self.dataset("d", make_dataset(self.stores.objects, "d", products=3))
        for name in ("all", *(split.digest for split in SPLITS)):
            self.put(layout.duplicate_table("d", name))

    def dataset(self, name: str, manifest: Manifest) -> None:
        plain = {key: getattr(manifest, key) for key in ("fingerprint", "products", "images", "labelled", "bytes")}
        row = Dataset(name=name, **plain, repeated=0, bad=0, taxonomy=manifest.taxonomy, created=1.0)
        self.stores.catalog.add_dataset(row)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.stores.objects.put(key, b"12345")

    def add(self, *rows: Run | Job | EnsembleVersion | Training) -> "Home":
        for row in rows:
            match row:
                case Run():
                    self.stores.runs.declare(row)
                    names = ["definition.json", "checkpoint/1/5/model.safetensors", "checkpoint/latest.json"]
                    names += ["weights.safetensors", "manifest.json"] if row.state == "complete" else []
                    self.put(*(layout.run_file(row.id, name) for name in names))
                case Job():
                    self.stores.jobs.create(row)
                    self.put(f"jobs/{row.id}/export/all.parquet")
                case EnsembleVersion():
                    self.stores.runs.add_version(row)
                    self.put(layout.ensemble_version(row.name, row.version))
                case Training():
                    self.stores.runs.add_training(row)
        return self

    def find(self) -> list[retention.Garbage]:
        s = self.stores
        return retention.find(s.objects, s.catalog, s.runs, s.jobs, KEEP, NOW)

    def collect(self) -> None:
        for garbage in self.find():
            if garbage.remove:
                garbage.remove()

    def names(self) -> set[tuple[str, str]]:
        return {(garbage.kind, garbage.name) for garbage in self.find() if garbage.remove}

    def keys(self) -> set[str]:
        return set(self.stores.objects.list(""))
