"""What a catalog takes, stage by stage, from what a home has measured; what it has not is said to be missing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from services.cli.measuring import Figure, JobFigures, Measured, MemberFigures
from shared.domain import estimates
from shared.domain.ensemble import Ensemble
from shared.domain.estimates import Catalog, MemberPlan, total
from shared.domain.records import JobOptions
from shared.settings import Settings

Facts = dict[str, Any]
"""JSON values; None: not measured."""
Members = list[tuple[MemberPlan, MemberFigures]]

_CHUNK_IMAGES = JobOptions(image_duplicates="none", product_duplicates="none").chunk_images


@dataclass(frozen=True, slots=True)
class Ledger:
    """What figures were measured on, and by what those that were not could be."""

    measured: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, figure: Figure | None, *, otherwise: str) -> float | None:
        """The figure's value; `otherwise` measures it."""
        if figure is None:
            self.missing.setdefault(name, otherwise)
            return None
        self.measured[name] = figure.source
        return figure.value


def plan(measured: Measured, settings: Settings, ensemble: Ensemble, products: int, images: int, gpus: int) -> Facts:
    """Seconds, bytes, rows, chunks and messages of each stage, and where they are from."""
    ledger = Ledger()
    of_image = ledger.take("bytes of an image", measured.image_bytes, otherwise="`shelver ingest` of some products")
    catalog = Catalog(products, images, _times(of_image, images))
    packs = estimates.packs_of(catalog, settings.ingest.pack_bytes)
    counts = estimates.plan_job(
        catalog, packs=packs, chunk_images=_CHUNK_IMAGES, message_chunks=settings.dispatch.message_chunks
    )
    members = _members(measured, ensemble, catalog, ledger)
    job = measured.job(ensemble) or JobFigures()
    splits = {member.split.digest for member in ensemble.members.values()}
    return {
        "ensemble": ensemble.name,
        "products": products,
        "images": images,
        "gpus": gpus,
        "ingest": {"packs": packs} | _ingest(measured, catalog, tables=1 + len(splits), ledger=ledger),
        "training": _training(members, gpus),
        "scoring": asdict(counts) | _scoring(job, catalog, members, gpus, ledger),
        "export": _export(job, catalog, ledger),
        "measured": ledger.measured,
        "not_measured": ledger.missing,
    }


def _members(measured: Measured, ensemble: Ensemble, catalog: Catalog, ledger: Ledger) -> Members:
    classes = ledger.take("classes", measured.classes, otherwise="`shelver ingest` with --categories")
    found = []
    for member in ensemble.members.values():
        figures = measured.member(member)
        source = Figure(0.0, figures.source) if figures.source else None
        remedy = f"`shelver train FILE --dataset ANY --member {member.name}`"
        ledger.take(f"{member.model} of {member.input.size} pixels", source, otherwise=remedy)
        planned = estimates.plan_member(member, ensemble, catalog, figures.rates, _whole(classes))
        found.append((planned, figures))
    return found


def _ingest(measured: Measured, catalog: Catalog, *, tables: int, ledger: Ledger) -> Facts:
    """With a duplicate table of all products and one of each split."""
    rate = ledger.take("ingested bytes per second", measured.ingest_rate, otherwise="`shelver ingest` without a stop")
    of_index = ledger.take("index bytes of an image", measured.index_bytes, otherwise="`shelver ingest`")
    of_table = ledger.take("table bytes of an image", measured.table_bytes, otherwise="`shelver split`")
    of_row = ledger.take("bytes of a product's row", measured.row_bytes, otherwise="`shelver ingest`")
    return {
        "bytes": catalog.bytes,
        "index_bytes": _times(of_index, catalog.images),
        "table_bytes": _times(of_table, tables * catalog.images),
        "rows": catalog.products,
        "row_bytes": _times(of_row, catalog.products),
        "seconds": None if rate is None or catalog.bytes is None else catalog.bytes / rate,
    }


def _training(members: Members, gpus: int) -> Facts:
    plans = [planned for planned, _ in members]
    seconds = {one.member: one.seconds for one in plans if one.seconds is not None}
    parents = {one.member: one.parent for one in plans if one.parent}
    whole = len(seconds) == len(plans)
    meanwhile = sorted((one.training_bytes for one in plans if one.training_bytes is not None), reverse=True)
    return {
        "members": [_facts(planned, figures) for planned, figures in members],
        "gpu_seconds": total(*(one.seconds for one in plans)),
        "gpu_seconds_of_measured": sum(seconds.values()),
        "longest_chain_seconds": estimates.makespan(seconds, parents, len(plans)) if whole else None,
        "seconds": estimates.makespan(seconds, parents, gpus) if whole else None,
        "bytes": total(*(one.run_bytes for one in plans)),
        "bytes_while_training": sum(meanwhile[:gpus]) if len(meanwhile) == len(plans) else None,
        "process_bytes": max((f.rates.process_bytes for _, f in members if f.rates.process_bytes), default=None),
    }


def _facts(planned: MemberPlan, figures: MemberFigures) -> Facts:
    rates = {f"images_per_second_{of}": getattr(figures.rates, of) for of in ("training", "scoring")}
    return asdict(planned) | {"seconds": planned.seconds} | rates | {"measured": figures.source}


def _scoring(job: JobFigures, catalog: Catalog, members: Members, gpus: int, ledger: Ledger) -> Facts:
    """By a job of this ensemble where there is one, else by the cards of its members; these too where they alone are
    of GPUs.
    """
    scored = [(planned, figures) for planned, figures in members if planned.scoring_seconds != 0]
    by_cards = total(*(planned.scoring_seconds for planned, _ in scored))
    device_seconds = job.device_seconds
    if device_seconds and by_cards and not job.on_gpu and all(figures.on_gpu for _, figures in scored):
        device_seconds = Figure(by_cards / catalog.images, "the members' cards: they are of GPUs, and no job is")
    otherwise = "`shelver score` of some products"
    of_image = ledger.take("device seconds of an image", device_seconds, otherwise=otherwise)
    decoding = ledger.take("decoding seconds of an image", job.decode_seconds, otherwise=otherwise)
    of_outcome = ledger.take("bytes of an outcome", job.outcome_bytes, otherwise=otherwise)
    seconds = by_cards if of_image is None else of_image * catalog.images
    weights = total(*(figures.rates.weights for _, figures in scored))
    beside = [
        rates.device_bytes - rates.weights
        for rates in (figures.rates for _, figures in scored)
        if rates.device_bytes is not None and rates.weights is not None
    ]
    return {
        "gpu_seconds": seconds,
        "gpu_seconds_by_cards": by_cards,
        "seconds": None if seconds is None else seconds / gpus,
        "bytes": _times(of_outcome, catalog.products),
        "decoding_cores_per_gpu": None if not of_image or decoding is None else decoding / of_image,
        "weights_bytes": weights,
        "device_bytes": total(weights, max(beside)) if beside and len(beside) == len(scored) else None,
    }


def _export(job: JobFigures, catalog: Catalog, ledger: Ledger) -> Facts:
    of_line = ledger.take("CSV bytes of a product", job.line_bytes, otherwise="`shelver score` of some products")
    ledger.take("seconds of an export", None, otherwise="`time shelver export JOB`: no rate is kept")
    return {"rows": catalog.products, "bytes": _times(of_line, catalog.products), "seconds": None}


def on_cpu(facts: Mapping[str, Any]) -> bool:
    """Whether seconds of a device are those of a CPU, which say nothing of a GPU."""
    sources = [one["measured"] for one in facts["training"]["members"]]
    sources.append(facts["measured"].get("device seconds of an image", ""))
    return any(", CPU " in source for source in sources)


def _times(each: float | None, count: int) -> int | None:
    return None if each is None else round(each * count)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
