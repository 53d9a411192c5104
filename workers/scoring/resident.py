"""The engine of an ensemble version, read from the object store."""

import torch

from shared import duplicate_tables
from shared.domain import ensemble, fits
from shared.domain.ensemble import Ensemble, ImagePolicy, ProductPolicy
from shared.domain.errors import ConflictError
from shared.domain.label_sets import LabelSets
from shared.domain.records import EnsembleVersion, JobOptions
from shared.domain.taxonomy import Taxonomy
from shared.packs import read_classes, read_manifest, read_taxonomy
from shared.ports import Objects
from shared.settings import ScoringSettings
from workers.scoring.chunks import Policies
from workers.scoring.engine import Device, Engine
from workers.vision.devices import DeviceTooSmallError, cores, out_of_memory, resolve_device, resolve_precision
from workers.vision.model import LoadedMember, load_member


def load_engine(
    objects: Objects,
    version: EnsembleVersion,
    options: JobOptions,
    dataset_fingerprint: str,
    settings: ScoringSettings,
    *,
    batch_images: int = 0,
    precision: str = "",
) -> Engine:
    """An engine that is ready to score a dataset, given by its fingerprint, by `version`.

    `batch_images` and `precision` are those a job has stored; 0 and empty: chosen for the device. A GPU has run
    one empty batch by then, so the shape may have come out smaller. Raises UnsupportedPrecisionError,
    DeviceTooSmallError, NotFoundError, and ConflictError where parts do not fit together.
    """
    device = resolve_device(settings.device)
    resolved_precision = resolve_precision(precision or "auto", device)
    if device.type == "cpu":
        torch.set_num_threads(min(torch.get_num_threads(), cores()))
    classes = read_taxonomy(objects, version.dataset)
    resolved = ensemble.from_plain(version.document)
    table_key = version.duplicate_table
    sets = read_classes(objects, read_manifest(objects, version.dataset), classes) if table_key else classes
    engine = Engine(
        resolved,
        classes,
        _load_networks(objects, version, resolved, classes, device, settings),
        duplicate_tables.read(objects, table_key, sets.classes) if table_key else None,
        _policies(options, own_source=dataset_fingerprint == version.dataset_fingerprint),
        on=Device(device, resolved_precision, batch_images or None),
        settings=settings,
        keep_scores=options.keep_scores,
        fits={name: fits.from_plain(plain) for name, plain in version.fits.items()},
        sets=sets if isinstance(sets, LabelSets) else None,
    )
    if device.type != "cpu":
        engine.warm_up()
    return engine


def _load_networks(
    objects: Objects,
    version: EnsembleVersion,
    resolved: Ensemble,
    classes: Taxonomy,
    device: torch.device,
    settings: ScoringSettings,
) -> dict[str, LoadedMember]:
    """The members that any combination names."""
    networks: dict[str, LoadedMember] = {}
    for name in {name for combination in resolved.combinations.values() for name in combination}:
        try:
            networks[name] = load_member(objects, version.runs[name], device, torch.float32)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise DeviceTooSmallError(f"the {device.type} device has no room for the weights of '{name}'") from error
        if networks[name].taxonomy != classes.fingerprint:
            whole = f"{version.name}@{version.version}"
            raise ConflictError(f"run {version.runs[name]} of '{name}' was trained on other classes than {whole}")
        if settings.compile:
            networks[name].module.compile()  # in place, on the first batch of each shape
    return networks


def _policies(options: JobOptions, *, own_source: bool) -> Policies:
    return Policies(
        images=_image_policy(options.image_duplicates),
        products=_product_policy(options.product_duplicates),
        skip_decided=options.skip_decided,
        own_source=own_source,
    )


def _image_policy(name: str) -> ImagePolicy:
    for policy in ("none", "unique", "majority", "l1", "l2", "softmax"):
        if policy == name:
            return policy
    raise ConflictError(f"this Shelver knows no policy '{name}' for image duplicates")


def _product_policy(name: str) -> ProductPolicy:
    for policy in ("none", "unique", "majority"):
        if policy == name:
            return policy
    raise ConflictError(f"this Shelver knows no policy '{name}' for product duplicates")
