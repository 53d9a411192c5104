import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import simplejpeg
import torch

from shared import duplicate_tables, layout, run_files
from shared.adapters.directory import DirectoryObjects
from shared.domain import duplicates, taxonomy
from shared.domain.ensemble import Ensemble
from shared.domain.ensemble import from_plain as ensemble_from_plain
from shared.domain.errors import ConflictError, NotFoundError
from shared.domain.fits import Fit
from shared.domain.records import EnsembleVersion, JobOptions
from shared.packs import Manifest, PackIndex, read_indexes, read_taxonomy
from shared.settings import ScoringSettings, Settings
from tests.engine_parts import ensemble
from workers.scoring import resident
from workers.scoring.chunks import ChunkInput, ProductResult
from workers.scoring.engines import CannotRunError
from workers.scoring.loading import load_ready
from workers.scoring.resident import load_engine
from workers.vision import model
from workers.vision.checkpoint import put_tensors
from workers.vision.devices import DeviceTooSmallError, UnsupportedPrecisionError

SETTINGS = ScoringSettings(device="cpu", decode_threads=1)
OPTIONS = JobOptions(image_duplicates="unique", product_duplicates="unique")


@dataclasses.dataclass
class Home:
    objects: DirectoryObjects
    manifest: Manifest
    index: PackIndex
    version: EnsembleVersion

    def content(self) -> bytes:
        return self.objects.read(layout.pack("tiny", 0))

    def products(self, *cuts: int, **options: object) -> list[ProductResult]:
        """The dataset scored in chunks that start at these products."""
        engine = load_engine(
            self.objects, self.version, OPTIONS, "another dataset", SETTINGS, batch_images=8, **options
        )
        edges = [*cuts, len(self.index)]
        chunks = [ChunkInput(str(a), self.index.slice(a, b), self.content(), 0) for a, b in pairwise(edges)]
        results = [product for result in engine.run(iter(chunks)) for product in result.products]
        engine.close()
        return results


@pytest.fixture
def home(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Home:
    """A tiny dataset, a duplicate table of half of it, and an untrained two-member ensemble version."""
    objects = DirectoryObjects(tmp_path)
    manifest = make_dataset(objects, products=24)
    ((_, index),) = read_indexes(objects, manifest)
    table = taxonomy.parse(objects.read(layout.categories("tiny")), "categories")
    known = index.slice(0, 12)
    classes = table.index_of(known.category_id).astype("int32")
    key = duplicate_tables.write(
        objects, "tiny", "all", duplicates.build(classes, known.first_image, known.image_md5, table.classes)
    )
    document = _with_networks(ensemble(), objects, table.classes, table.fingerprint)
    version = EnsembleVersion(
        name="small",
        version="v",
        document=document.plain(),
        runs={name: f"run-{name}" for name in document.members},
        dataset="tiny",
        dataset_fingerprint=manifest.fingerprint,
        taxonomy=table.fingerprint,
        duplicate_table=key,
    )
    return Home(objects, manifest, index, version)


def _with_networks(given: Ensemble, objects: DirectoryObjects, classes: int, fingerprint: str) -> Ensemble:
    members = {
        name: dataclasses.replace(
            member, model="test_resnet", input=dataclasses.replace(member.input, size=16 * (1 + i))
        )
        for i, (name, member) in enumerate(given.members.items())
    }
    for seed, (name, member) in enumerate(members.items()):
        torch.manual_seed(seed)
        put_tensors(
            objects,
            layout.run_file(f"run-{name}", "weights.safetensors"),
            model.build(member.model, classes).state_dict(),
        )
        run_files.put_member(
            objects, f"run-{name}", model.resolved(member, "float32"), classes=classes, taxonomy=fingerprint
        )
    return dataclasses.replace(given, members=members)


def test_a_stored_version_scores_its_dataset(home):
    found = home.products(0)

    assert [result.product for result in found] == home.index.product_id.tolist()
    assert all(set(result.predictions) == {"one", "all"} for result in found)
    assert {result.source for result in found[:12]} == {"product duplicate"}
    assert {"model", "image duplicate"} & {result.source for result in found[12:]}


def test_cuts_change_no_probability(home):
    whole, cut = home.products(0), home.products(0, 1, 13, 20)

    for a, b in zip(whole, cut, strict=True):
        assert (a.product, a.source, a.overridden) == (b.product, b.source, b.overridden)
        for name, prediction in a.predictions.items():
            assert prediction.category_id == b.predictions[name].category_id
            assert prediction.probability == pytest.approx(b.predictions[name].probability, abs=1e-4)


def test_on_the_dataset_of_the_table_a_product_is_not_its_own_duplicate(home):
    engine = load_engine(home.objects, home.version, OPTIONS, home.manifest.fingerprint, SETTINGS, batch_images=8)
    (result,) = engine.run(iter([ChunkInput("c", home.index.slice(0, 4), home.content(), 0)]))

    assert {product.source for product in result.products} == {"model"}
    assert engine.batch_images == 8


def test_a_version_without_a_table_overrides_nothing(home):
    home.version = dataclasses.replace(home.version, duplicate_table="")

    assert {result.source for result in home.products(0)} == {"model"}


def test_bf16_answers_alike(home):
    for a, b in zip(home.products(0), home.products(0, precision="bf16"), strict=True):
        assert a.predictions["all"].probability == pytest.approx(b.predictions["all"].probability, abs=0.05)


def test_a_precision_that_the_device_does_not_have(home):
    with pytest.raises(UnsupportedPrecisionError, match="fp16 does not run on this cpu device"):
        home.products(0, precision="fp16")


def test_networks_of_another_taxonomy_are_refused(home):
    for name in ("a", "b"):
        key = layout.run_file(f"run-{name}", "member.yaml")
        home.objects.put(key, home.objects.read(key).replace(home.version.taxonomy.encode(), b"another"))
    with pytest.raises(ConflictError, match="trained on other classes than small@v"):
        home.products(0)


def test_a_run_that_is_not_there(home):
    home.version = dataclasses.replace(home.version, runs={"a": "gone", "b": "gone"})
    with pytest.raises(NotFoundError):
        home.products(0)


def test_an_unknown_policy_is_refused(home):
    for images, products in (("x", "none"), ("none", "x")):
        options = JobOptions(image_duplicates=images, product_duplicates=products)
        with pytest.raises(ConflictError, match="no policy 'x'"):
            load_engine(home.objects, home.version, options, "", SETTINGS)


def test_weights_that_do_not_fit_are_the_devices_fault(home, monkeypatch):
    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("workers.scoring.resident.load_member", no_room)
    with pytest.raises(DeviceTooSmallError, match="no room for the weights"):
        home.products(0)


def test_one_picture_is_answered_at_once(home):
    engine = load_engine(home.objects, home.version, OPTIONS, "", SETTINGS)
    picture = simplejpeg.encode_jpeg(torch.full((20, 20, 3), 100, dtype=torch.uint8).numpy())
    result, seconds = engine.answer([picture, picture])

    assert result.predictions["all"].category_id in (1000, 1001, 1002)
    assert seconds["forward"] > 0


def test_networks_are_compiled_where_the_setting_says_so_and_else_run_as_they_are(home: Home) -> None:
    loaded = {}
    for compiles in (False, True):
        settings = dataclasses.replace(SETTINGS, compile=compiles)
        loaded[compiles] = resident._load_networks(
            home.objects,
            home.version,
            ensemble_from_plain(home.version.document),
            read_taxonomy(home.objects, "tiny"),
            torch.device("cpu"),
            settings,
        )
    batch = torch.rand(2, 3, 32, 32)
    for name, network in loaded[False].items():
        eager, compiled = network.module, loaded[True][name].module
        assert eager._compiled_call_impl is None
        assert compiled._compiled_call_impl is not None
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            assert torch.equal(eager(batch), compiled(batch))


def test_a_version_with_a_fit_of_a_newer_shelver_is_for_another_worker(home: Home) -> None:
    newer = dataclasses.replace(home.version, fits={"all": Fit().plain() | {"moods": [1.0]}})
    stores: Any = SimpleNamespace(objects=home.objects)
    with pytest.raises(CannotRunError, match="a fit has 'moods', which this Shelver does not know"):
        load_ready(stores, Settings(scoring=SETTINGS), newer, OPTIONS)
