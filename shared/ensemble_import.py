"""Ensembles whose weights were trained elsewhere: their members become complete runs, and together a version."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256

from shared import ensemble_versions, layout, run_files
from shared.domain import runs as rules
from shared.domain.definitions import run_definition, run_id
from shared.domain.ensemble import Ensemble, Member
from shared.domain.errors import BadInputError
from shared.domain.records import EnsembleVersion, Run
from shared.domain.taxonomy import Taxonomy
from shared.dumps import Dump, blocks
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Objects, Stores
from shared.split_tables import ensure_tables
from shared.training_requests import check_task
from shared.weights import read_shapes


def import_ensemble(
    stores: Stores, ensemble: Ensemble, dataset: str, weights: Mapping[str, Dump], *, move_current: bool, now: float
) -> EnsembleVersion:
    """Store weights (one safetensors file per member, by timm's names of tensors) and make the version.

    The classes of every network are the rows of the dataset's category table, in their order; its labelled products
    give the duplicate table. Nobody knows what the weights have seen of it, so nothing of it judges them. Doing it
    again finds what is there. Raises BadInputError and NotFoundError before anything is stored.
    """
    manifest = read_manifest(stores.objects, dataset)
    if not manifest.taxonomy:
        remedy = "ingest one with --categories, the classes of the networks in their order"
        raise BadInputError(f"dataset {dataset}", "it has no category table", remedy=remedy)
    check_task(manifest, ensemble.task)
    taxonomy = read_taxonomy(stores.objects, dataset)
    _check(ensemble, weights, taxonomy.classes)
    digests = {name: _digest(name, weights[name]) for name in ensemble.members}
    runs = {
        member.name: _store(stores, member, weights[member.name], digests[member.name], manifest, taxonomy, now)
        for member in ensemble.members.values()
    }
    table = ensure_tables(stores.objects, manifest, taxonomy, []) if manifest.labelled else ""
    return ensemble_versions.make(
        stores, ensemble, runs, manifest, taxonomy, table=table, imported=True, move_current=move_current, now=now
    )


def _digest(member: str, dump: Dump) -> str:
    hashed = sha256()
    for block in blocks(f"weights of {member}", dump):
        hashed.update(block)
    return hashed.hexdigest()


def _check(ensemble: Ensemble, weights: Mapping[str, Dump], classes: int) -> None:
    missing, unknown = ensemble.members.keys() - weights.keys(), weights.keys() - ensemble.members.keys()
    if missing or unknown:
        words = [f"no weights for {', '.join(sorted(missing))}"] if missing else []
        words += [f"no member {', '.join(sorted(unknown))}"] if unknown else []
        raise BadInputError(f"ensemble {ensemble.name}", "; ".join(words), remedy="name one file per member")
    for name, dump in weights.items():
        shapes = read_shapes(f"weights of {name}", dump)
        if not any(shape[:1] == (classes,) for shape in shapes.values()):
            reason = f"no tensor has {classes} rows, one per category: it is of other classes"
            raise BadInputError(f"weights of {name}", reason, remedy="import it for the dataset whose table it knows")


def _store(
    stores: Stores, member: Member, dump: Dump, weights: str, manifest: Manifest, taxonomy: Taxonomy, now: float
) -> str:
    definition = run_definition(member, dataset=manifest.fingerprint, taxonomy=taxonomy.fingerprint, parent="")
    definition |= {"weights": weights}
    run = Run(
        id=run_id(definition),
        member=member.name,
        dataset=manifest.dataset,
        definition=definition,
        created=now,
    )
    row = stores.runs.declare(run)  # first: what no row names may be collected
    if row.state != "complete":
        _put(stores.objects, row.id, member, dump, weights, taxonomy)
        stores.runs.swap_run(row, replace(rules.complete(row), ended=now))
    return row.id


def _put(objects: Objects, run: str, member: Member, dump: Dump, weights: str, taxonomy: Taxonomy) -> None:
    name, hashed = f"weights of {member.name}", sha256()

    def content() -> Iterator[bytes]:
        for block in blocks(name, dump):
            hashed.update(block)
            yield block
        if hashed.hexdigest() != weights:
            raise BadInputError(name, "the file changed while it was read", remedy="import it again")

    objects.put(layout.run_file(run, "weights.safetensors"), content())
    run_files.put_member(objects, run, member, classes=taxonomy.classes, taxonomy=taxonomy.fingerprint)
    run_files.put_manifest(objects, run, attempt=0, steps=0, files=["member.yaml", "weights.safetensors"])
