"""What `doctor` looks at in the stores: datasets and ensemble versions as far as looking is cheap, and what has ended
badly or waits to be gone on with.
"""

import json
import re
import shlex
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from services.cli import garbage
from services.cli.checks import Check, FaultError, answer
from shared import layout
from shared.domain.errors import BadInputError, FailedError, NotFoundError
from shared.domain.records import EnsembleVersion, Ingest
from shared.dumps import S3, file_identity
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Objects, Stores
from shared.removal import dataset_users
from shared.settings import Settings

_NAMED = 3  # faults of one dataset or version that are spelled out
_PARQUET = b"PAR1"  # at either end of a whole file
_RELABEL = re.compile(r"dataset (\S+) by relabel")  # the source of a dataset that has another one's packs


def dataset_checks(settings: Settings, stores: Stores, *, busy: bool) -> Iterator[Check]:
    """Each dataset's manifest, packs by size, indexes and category table; ingests and removals that were interrupted.

    `busy`: another process works in the home, so what is unfinished may be its work.
    """
    ingests = {ingest.dataset: ingest for ingest in stores.catalog.ingests()}
    rows = {dataset.name for dataset in stores.catalog.datasets()}
    for name in sorted({*rows, *ingests}):
        ingest = ingests.get(name)
        if ingest is not None and ingest.state != "complete":
            yield _unfinished(ingest, busy=busy)
        elif stores.objects.exists(layout.manifest(name)):
            mend = _mend(settings, ingest)
            yield answer(f"dataset {name}", mend, partial(_whole, stores.objects, name, mend))
        elif users := dataset_users(stores.objects, stores.catalog, stores.runs, stores.jobs, name):
            words = f"its manifest is gone, and {users[0]} needs it"
            yield Check(f"dataset {name}", False, words, _mend(settings, ingest))
        else:
            yield Check(
                f"dataset {name}", False, "its removal was interrupted", f"finish it: shelver rm dataset {name}"
            )


def version_checks(settings: Settings, stores: Stores) -> Iterator[Check]:
    """Each ensemble version's runs, duplicate table and category table; what `current` points at."""
    versions = stores.runs.versions()
    for version in versions:
        name = f"ensemble {version.name}@{version.version}"
        mend = f"see {_place(settings)}"
        yield answer(name, mend, partial(_usable, settings, stores.objects, version))
    there = {(version.name, version.version) for version in versions}
    names = {v.name for v in versions} | {t.ensemble for t in stores.runs.trainings()}
    for name in sorted(names | {job.ensemble for job in stores.jobs.jobs()}):
        current = stores.runs.current(name)
        if current and (name, current) not in there:
            remedy = f"`shelver train` its file again, which moves `current`; until then name {name}@VERSION"
            yield Check(f"ensemble {name}", False, f"the current version, {current}, is not there", remedy)


def leftover_checks(settings: Settings, stores: Stores, now: float) -> Iterator[Check]:
    """What a `gc` would remove, and what lies there that is not known; `now` in seconds since the epoch."""
    from services.reports.pages import size  # Jinja2 would slow every other verb down

    try:
        found = garbage.find(settings, stores, now)
    except FailedError:
        return  # a damaged manifest: the dataset's own line says it
    removable = [one for one in found if one.remove]
    if removable:
        words = f"{len(removable):,} things that nothing needs, {size(sum(one.bytes for one in removable))}"
        yield Check("leftovers", True, words, "`shelver gc` shows them, `shelver gc --apply` removes them")
    for one in found:
        if one.remove is None:
            yield Check("leftovers", True, f"{one.kind} {one.name}: {one.why}", "`shelver gc` leaves it to you")


def _command(ingest: Ingest) -> str:
    """What a person typed, but for the names of CSV files, of which only digests are kept."""
    if found := _RELABEL.fullmatch(ingest.source):
        return f"shelver relabel {found[1]} --labels CSV --as {ingest.dataset}"
    categories = " --categories CSV" if ingest.categories else ""
    bad = f" --allow-bad {ingest.allow_bad}" if ingest.allow_bad else ""
    return f"shelver ingest {shlex.quote(ingest.source)} --dataset {ingest.dataset}{categories}{bad}"


def _mend(settings: Settings, ingest: Ingest | None) -> str:
    where = f"below {_place(settings)}"
    if ingest is None or _RELABEL.fullmatch(ingest.source):
        return f"copy it {where} from a backup, or remove the dataset and make it anew"
    return (
        f"copy it {where} from a backup, or from another --home into which the same source is ingested, which gives "
        f"the same bytes: {_command(ingest)} --home OTHER"
    )


def _place(settings: Settings) -> str:
    """Where the objects lie."""
    return settings.objects or str(settings.home / "objects")


def _unfinished(ingest: Ingest, *, busy: bool) -> Check:
    name = f"dataset {ingest.dataset}"
    if busy:
        return Check(name, True, "an ingest is under way")
    remove, known = f"shelver rm dataset {ingest.dataset}", ingest.source_identity
    if ingest.state == "failed":
        return Check(name, False, f"its ingest failed: {ingest.error}", f"begin anew: {remove}, then ask for it again")
    if ingest.requested:
        remedy = f"start it, it goes on: python -m services.launcher; or give it up: {remove}"
        return Check(name, True, "its ingest was asked of the launcher", remedy)
    source = Path(ingest.source)
    elsewhere = ingest.source == "-" or ingest.source.startswith(S3) or _RELABEL.fullmatch(ingest.source)
    if not elsewhere and (not source.exists() or (source.is_file() and file_identity(source) != known)):
        words = f"its ingest was interrupted, and {ingest.source} has changed or gone since"
        return Check(name, False, words, f"begin anew: {remove}, then ingest it again")
    go_on = f"go on: {_command(ingest)} (the same CSV); or give it up: {remove}"
    return Check(name, True, "its ingest was interrupted", go_on)


def _whole(objects: Objects, name: str, mend: str) -> str:
    """Raises FaultError for the first few objects that are missing or cut off."""
    manifest = read_manifest(objects, name)
    faults = list(_broken(objects, manifest))
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise FaultError("; ".join(faults[:_NAMED]) + more, mend)
    packs = "1 pack" if len(manifest.packs) == 1 else f"{len(manifest.packs):,} packs"
    return f"{manifest.products:,} products, {manifest.images:,} images in {packs}"


def _broken(objects: Objects, manifest: Manifest) -> Iterator[str]:
    for ref in manifest.packs:
        pack, index = layout.pack(ref.dataset, ref.number), layout.pack_index(manifest.dataset, ref.number)
        if (found := _size(objects, pack)) is None:
            yield f"{pack} is missing"
        elif found != ref.bytes:
            yield f"{pack} has {found:,} bytes, not {ref.bytes:,}"
        if (found := _size(objects, index)) is None:
            yield f"{index} is missing"
        elif {objects.read(index, 0, 4), objects.read(index, max(found - 4, 0), 4)} != {_PARQUET}:
            yield f"{index} is cut off or damaged"
    if manifest.label_sets and not objects.exists(key := layout.label_sets(manifest.dataset)):
        yield f"{key} is missing"
    if manifest.taxonomy and (fault := _taxonomy_fault(objects, manifest.dataset, manifest.taxonomy)):
        yield fault


def _taxonomy_fault(objects: Objects, dataset: str, fingerprint: str) -> str:
    key = layout.categories(dataset)
    try:
        found = read_taxonomy(objects, dataset).fingerprint
    except NotFoundError:
        return f"{key} is missing"
    except BadInputError as error:
        return str(error)
    return "" if found == fingerprint else f"{key} is another category table"


def _usable(settings: Settings, objects: Objects, version: EnsembleVersion) -> str:
    """Raises FaultError with all that is missing, and what brings each back."""
    faults: dict[str, str] = {}
    if fault := _taxonomy_fault(objects, version.dataset, version.taxonomy):
        copy = f"{_place(settings)}/{layout.categories(version.dataset)}"
        faults[fault] = f"copy the category table that was ingested to {copy}"
    if version.duplicate_table and not objects.exists(version.duplicate_table):
        remedy = f"`shelver train` its file on {version.dataset} again, which makes the table and trains nothing"
        faults[f"{version.duplicate_table} is missing"] = remedy
    broken = [fault for run in version.runs.values() for fault in _run_faults(objects, run)]
    faults |= dict.fromkeys(broken, _retrain(version, broken))
    if faults:
        raise FaultError("; ".join(faults), "; ".join(dict.fromkeys(faults.values())))
    return f"{len(version.runs)} members trained on {version.dataset}"


def _run_faults(objects: Objects, run: str) -> Iterator[str]:
    for name in ("member.yaml", "weights.safetensors"):
        key = layout.run_file(run, name)
        if (found := _size(objects, key)) is None:
            yield f"{key} is missing"
        elif name.endswith(".safetensors") and found != _safetensors_size(objects, key, found):
            yield f"{key} is cut off or damaged"


def _safetensors_size(objects: Objects, key: str, most: int) -> int:
    """The size that the file's header speaks of, -1 where it is none: length of the header, header, tensors."""
    length = int.from_bytes(objects.read(key, 0, 8), "little")
    try:
        if length > most:
            return -1
        tensors = json.loads(objects.read(key, 8, length))
        ends = [about["data_offsets"][1] for name, about in tensors.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return -1
    return 8 + length + max(ends, default=0)


def _retrain(version: EnsembleVersion, broken: Collection[str]) -> str:
    runs = [run for run in version.runs.values() if any(run in fault for fault in broken)]
    again = ", ".join(f"run {run}" for run in runs)
    anew = f"`shelver rm` its jobs, ensemble {version.name}@{version.version} and {again}, then `shelver train` again"
    return f"restore the files from a backup, or train anew: {anew}"


def _size(objects: Objects, key: str) -> int | None:
    try:
        return objects.size(key)
    except NotFoundError:
        return None
