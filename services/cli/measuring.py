"""What this home has measured and what something else will take by that: figures, and where each is from."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

from shared import layout, run_log
from shared.domain import states
from shared.domain.definitions import ensemble_definition
from shared.domain.ensemble import Ensemble, Member, from_plain, member_from_plain
from shared.domain.errors import NotFoundError
from shared.domain.estimates import MemberRates
from shared.domain.records import Dataset, Job, Run
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Stores

_ROWS = 1000  # that tell how large one is


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and what it was measured on."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class MemberFigures:
    """What a run of an equal network took, and on which device; everything None without one."""

    rates: MemberRates
    source: str = ""
    on_gpu: bool = False


class Measured:
    """Reads what it is asked for, once."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @cached_property
    def dataset(self) -> Dataset | None:
        """The one of the most images: what an image takes here is taken to be what it takes elsewhere."""
        return max(self._stores.catalog.datasets(), key=lambda row: row.images, default=None)

    @cached_property
    def image_bytes(self) -> Figure | None:
        """Of a dump, per image."""
        row = self.dataset
        return None if row is None else Figure(row.bytes / row.images, f"dataset {row.name}")

    @cached_property
    def index_bytes(self) -> Figure | None:
        """Of packs' indexes, per image."""
        if (manifest := self._manifest) is None:
            return None
        sizes = (self._stores.objects.size(layout.pack_index(manifest.dataset, ref.number)) for ref in manifest.packs)
        return Figure(sum(sizes) / manifest.images, f"dataset {manifest.dataset}")

    @cached_property
    def table_bytes(self) -> Figure | None:
        """Of a duplicate table, per image."""
        if (manifest := self._manifest) is None:
            return None
        objects = self._stores.objects
        key = layout.duplicate_table(manifest.dataset)
        size = objects.size(key) if objects.exists(key) else 0
        return Figure(size / manifest.images, f"dataset {manifest.dataset}") if size else None

    @cached_property
    def row_bytes(self) -> Figure | None:
        """Of a product's row, without what the document store adds to it."""
        rows = [] if self.dataset is None else self._stores.catalog.products(self.dataset.name, limit=_ROWS)
        return _mean_size([row.plain() for row in rows], f"dataset {rows[0].dataset}") if rows else None

    @cached_property
    def classes(self) -> Figure | None:
        """Categories of the table."""
        if (manifest := self._manifest) is None or not manifest.taxonomy:
            return None
        classes = read_taxonomy(self._stores.objects, manifest.dataset).classes
        return Figure(classes, f"dataset {manifest.dataset}")

    @cached_property
    def ingest_rate(self) -> Figure | None:
        """Bytes of a dump per second, of the largest dataset whose ingest went through without a stop."""
        sizes = {row.name: row.bytes for row in self._stores.catalog.datasets()}
        timed = [row for row in self._stores.catalog.ingests() if row.rate and row.dataset in sizes]
        if not timed:
            return None
        row = max(timed, key=lambda one: sizes[one.dataset])
        return Figure(row.rate, f"ingest of {row.dataset} by {row.processes} processes")

    def member(self, member: Member) -> MemberFigures:
        """Of a complete run of the same network, input and way to learn: one on a GPU first, then one of the same seed,
        then the newest.
        """
        best, figures = (False, False), MemberFigures(MemberRates())
        for run, trained in self._complete_runs:
            if _network(trained) == _network(member):
                found = self._of_run(run)
                rank = (found.on_gpu, trained.seed == member.seed)
                if not figures.source or rank > best:
                    best, figures = rank, found
        return figures

    def job(self, ensemble: Ensemble) -> "JobFigures | None":
        """Of the newest job that this ensemble has answered, one on a GPU first."""
        newest = None
        for job in self._stores.jobs.jobs(states.ANSWERED):
            with suppress(NotFoundError):  # its version was removed
                version = self._stores.runs.version(job.ensemble, job.version)
                if ensemble_definition(from_plain(version.document)) == ensemble_definition(ensemble):
                    found = self._of_job(job, ensemble)
                    if found.on_gpu:
                        return found
                    newest = newest or found
        return newest

    @cached_property
    def _manifest(self) -> Manifest | None:
        return None if self.dataset is None else read_manifest(self._stores.objects, self.dataset.name)

    @cached_property
    def _complete_runs(self) -> list[tuple[Run, Member]]:
        return [(run, _member_of(run)) for run in reversed(self._stores.runs.runs()) if run.state == "complete"]

    def _of_run(self, run: Run) -> MemberFigures:
        metrics, card = (run_log.document(self._stores.objects, run.id, f"{name}.json") for name in ("metrics", "card"))
        device, precision = metrics.get("device", ""), metrics.get("precision", "")
        images = metrics.get("training", {}).get("images", 0) * metrics.get("epochs", 0)
        peak = {card.get("peak_memory_of"): card.get("peak_memory_bytes")}
        quick = [one["images_per_second"] for one in card.get("inference", ()) if one["precision"] == precision]
        return MemberFigures(
            MemberRates(
                training=images / metrics["seconds"] if images and metrics.get("seconds") else None,
                scoring=max(quick, default=None),
                weights=card.get("bytes"),
                device_bytes=peak.get("device"),
                process_bytes=peak.get("process"),
            ),
            f"run {run.id}, {device} in {precision}" if metrics else "",
            on_gpu=_is_gpu(device),
        )

    def _of_job(self, job: Job, ensemble: Ensemble) -> "JobFigures":
        """Seconds are those of one device, a GPU where there was one."""
        images = Counter[str]()
        chunks = self._stores.jobs.chunks(job.id, ("done",))
        for chunk in chunks:
            images[chunk.device] += chunk.scored_images
        device = max(images, key=lambda name: (_is_gpu(name), images[name]), default="")
        source = f"job {job.id}, {device or 'an unknown device'} in {job.precision}"
        outcomes = self._stores.jobs.outcomes(job.id, limit=_ROWS)
        combination = ensemble.default_combination
        answers = [
            f"{one.product},{one.predictions[combination]['category_id']}\n" for one in outcomes if not one.error
        ]

        def per_image(stage: str) -> Figure | None:
            seconds = sum(chunk.seconds.get(stage, 0.0) for chunk in chunks if chunk.device == device)
            return Figure(seconds / images[device], source) if images[device] else None

        return JobFigures(
            device_seconds=per_image("forward"),
            decode_seconds=per_image("decode"),
            outcome_bytes=_mean_size([one.plain() for one in outcomes], f"job {job.id}"),
            line_bytes=Figure(mean(map(len, answers)), f"job {job.id}") if answers else None,
            on_gpu=_is_gpu(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFigures:
    """Per image that went through the networks: seconds of the device, and of the cores that decode. Bytes of an
    outcome, without what the document store adds to it, and of a line of a CSV.
    """

    device_seconds: Figure | None = None
    decode_seconds: Figure | None = None
    outcome_bytes: Figure | None = None
    line_bytes: Figure | None = None
    on_gpu: bool = False


def _mean_size(values: Sequence[Any], source: str) -> Figure | None:
    """Of values as JSON."""
    sizes = [len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) for value in values]
    return Figure(mean(sizes), source) if sizes else None


def _is_gpu(device: str) -> bool:
    return bool(device) and not device.startswith("CPU")


def _member_of(run: Run) -> Member:
    plain: Mapping[str, Any] = run.definition["member"]
    return member_from_plain({**plain, "name": run.member})


def _network(member: Member) -> tuple[Any, ...]:
    """What decides how fast a member learns and answers."""
    return (member.model, member.input.size, member.head, member.trains, member.features, member.joint, member.levels)
