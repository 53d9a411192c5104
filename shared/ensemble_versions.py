"""Ensemble versions: what a scoring job names, under one digest."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared import layout
from shared.domain.definitions import ensemble_definition
from shared.domain.digests import digest
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.fits import Fit
from shared.domain.records import EnsembleVersion
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest
from shared.ports import Runs, Stores
from shared.run_files import to_yaml


def make(
    stores: Stores,
    ensemble: Ensemble,
    runs: Mapping[str, str],
    manifest: Manifest,
    taxonomy: Taxonomy,
    *,
    table: str,
    imported: bool = False,
    move_current: bool,
    now: float,
) -> EnsembleVersion:
    """The version of complete `runs` (by member) on a dataset; equal inputs give the one that is there already.

    `table` is the key of the duplicate table of all of the dataset.
    """
    version = EnsembleVersion(
        name=ensemble.name,
        version="",
        document=ensemble.plain(),
        runs={name: runs[name] for name in ensemble.members},
        dataset=manifest.dataset,
        dataset_fingerprint=manifest.fingerprint,
        taxonomy=taxonomy.fingerprint,
        duplicate_table=table,
        imported=imported,
        created=now,
    )
    return _store(stores, version, move_current)


def with_fit(
    stores: Stores, version: EnsembleVersion, combination: str, fit: Fit, *, move_current: bool, now: float
) -> EnsembleVersion:
    """The version of the same runs whose `combination` is fitted so; fits of other combinations stay."""
    fits = {**version.fits, combination: fit.plain()}
    return _store(stores, replace(version, fits=fits, created=now), move_current)


def summary(runs: Runs, version: EnsembleVersion) -> dict[str, Any]:
    """A version without its file and its fits, which have numbers for each category; lists of versions have this."""
    document = version.document
    return {
        "name": version.name,
        "version": version.version,
        "current": runs.current(version.name) == version.version,
        "dataset": version.dataset,
        "dataset_fingerprint": version.dataset_fingerprint,
        "taxonomy": version.taxonomy,
        "runs": dict(version.runs),
        "combinations": {name: list(members) for name, members in document["combinations"].items()},
        "image_duplicates": document["image_duplicates"],
        "product_duplicates": document["product_duplicates"],
        "duplicate_table": version.duplicate_table,
        "fitted": list(version.fits),
        "imported": version.imported,
        "created": version.created,
    }


def _store(stores: Stores, version: EnsembleVersion, move_current: bool) -> EnsembleVersion:
    """The version under its digest."""
    definition = ensemble_definition(from_plain(version.document))
    content = {k: v for k, v in version.plain().items() if k not in ("version", "created", "document", "imported")}
    version = replace(version, version=digest([definition, content]))
    stores.objects.put(layout.ensemble_version(version.name, version.version), to_yaml(version.plain()))
    stored = stores.runs.add_version(version)
    if move_current:
        stores.runs.set_current(stored.name, stored.version)
    return stored
