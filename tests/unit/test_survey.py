import hashlib
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from services.reports import contents, survey
from services.reports.image_facts import quantiles
from services.reports.looks import CMYK, FORMATS, GREY, PROGRESSIVE, State, look
from services.reports.repeats import DistinctImages, distinct_images
from services.reports.survey import Survey, read_images, sample
from tests.catalog_scene import Scene, encoded, huge_png, jpeg, pixels

REFUSE = 10**8


def test_a_look_tells_format_size_and_kind():
    seen = look(encoded(pixels(1, (30, 20)), progressive=True), REFUSE)
    assert (FORMATS[seen.format], seen.width, seen.height) == ("JPEG", 30, 20)
    assert (seen.flags, seen.state) == (PROGRESSIVE, State.WHOLE)
    assert look(encoded(pixels(1).convert("L")), REFUSE).flags == GREY
    assert look(encoded(pixels(1).convert("CMYK")), REFUSE).flags == CMYK
    assert FORMATS[look(encoded(pixels(1), "WebP"), REFUSE).format] == "WebP"


@pytest.mark.parametrize("colour", ["white", "black", "#3070a0"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_one_colour_is_blank(colour, kind):
    assert look(encoded(Image.new("RGB", (300, 200), colour), kind), REFUSE).deviation < 2


def test_a_deviation_is_the_standard_deviation_of_the_strongest_channel():
    half = np.zeros((16, 16, 3), dtype=np.uint8)
    half[:8, :, 2], half[:, :, 0] = 6, 200
    seen = look(encoded(Image.fromarray(half), "PNG"), REFUSE)
    assert seen.deviation == pytest.approx(3.0), "blue is 0 or 6, half each"
    assert look(jpeg(1, (640, 480)), REFUSE).deviation > 5, "noise, also at an eighth of its size"


@pytest.mark.parametrize(
    ("content", "state", "width"),
    [
        (b"", State.UNDECODABLE, 0),
        (b"\xff\xd8\xff", State.UNDECODABLE, 0),
        (jpeg(1, (200, 100))[:2000], State.DAMAGED, 200),
        (encoded(pixels(1, (200, 100)), "PNG")[:2000], State.UNDECODABLE, 200),
        (encoded(pixels(1), "GIF"), State.UNDECODABLE, 24),
        (huge_png(60_000), State.UNDECODABLE, 60_000),
        (encoded(pixels(1), "BMP"), State.UNDECODABLE, 0),
    ],
)
def test_what_cannot_be_read_is_counted_and_never_fatal(content, state, width):
    with warnings.catch_warnings(action="error"):
        seen = look(content, REFUSE)
    assert (seen.state, seen.width) == (state, width)
    assert seen.deviation == np.inf


def test_a_picture_above_the_limit_is_refused():
    assert look(jpeg(1, (20, 20)), 400).state == State.WHOLE
    assert look(jpeg(1, (20, 20)), 399).state == State.UNDECODABLE


def images_of(occurrences: np.ndarray) -> DistinctImages:
    nothing = np.zeros(0, dtype=np.int64)
    first = np.append(0, np.cumsum(occurrences))[:-1]
    return DistinctImages(nothing.astype(np.int32), first, occurrences, occurrences, nothing, nothing, nothing, nothing)


@pytest.fixture
def population():
    """Mostly single images, some repeated, one that stands in half of all products; 5,000 distinct ones."""
    generator = np.random.default_rng(3)
    occurrences = np.where(generator.random(5000) < 0.1, generator.integers(2, 9, 5000), 1)
    occurrences[1234] = 6000
    return images_of(occurrences), generator.integers(0, 2**64, 5000, dtype=np.uint64)


def test_a_small_dataset_is_looked_at_whole(population):
    chosen, weight, certain = sample(*population, limit=5000)
    assert chosen.tolist() == list(range(5000))
    assert weight.tolist() == population[0].occurrences.tolist()
    assert certain.all()


def test_a_sample_has_the_most_frequent_for_certain_and_weighs_all(population):
    images, draw = population
    chosen, weight, certain = sample(images, draw, limit=400)
    assert len(set(chosen.tolist())) == len(chosen) == 400
    assert weight.sum() == pytest.approx(images.occurrences.sum())
    assert certain.sum() == 40
    least = images.occurrences[chosen[certain]].min()
    assert np.setdiff1d(np.flatnonzero(images.occurrences > least), chosen).tolist() == []
    assert weight[chosen == 1234].tolist() == [6000]
    assert sample(images, draw, limit=400)[0].tolist() == chosen.tolist()


def test_intervals_of_a_sample_hold_the_truth_as_often_as_they_say(population):
    """200 populations, each with a share of marked images that is known: 95 % within a binomial's reach (190 +- 10)."""
    images, _ = population
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        marked = generator.random(5000) < 0.3
        truth = images.occurrences[marked].sum() / images.occurrences.sum()
        chosen, weight, certain = sample(images, generator.integers(0, 2**64, 5000, dtype=np.uint64), limit=400)
        share = seen_of(chosen, weight, certain).share(marked[chosen])
        assert share.n == 400
        assert share.low <= share.share <= share.high
        hits += share.low <= truth <= share.high
    assert 180 <= hits <= 199


def seen_of(chosen: np.ndarray, weight: np.ndarray, certain: np.ndarray, distinct: int = 5000) -> Survey:
    zero = np.zeros(len(chosen), dtype=np.uint8)
    wide = zero.astype(np.int32)
    return Survey(distinct, chosen, weight, certain, zero, wide, wide, zero, zero, zero.astype(np.float32))


def test_a_count_has_no_interval():
    share = seen_of(np.arange(3), np.array([1.0, 2.0, 5.0]), np.ones(3, bool), distinct=3).share(
        np.array([True, False, True])
    )
    assert (share.share, share.images, share.low, share.high, share.n) == (0.75, 6, None, None, 3)


def test_quantiles_weigh_each_value():
    values, weight = np.array([30.0, 10.0, 20.0]), np.array([1.0, 6.0, 3.0])
    assert quantiles(values, weight) == {"least": 10, "5 %": 10, "median": 10, "95 %": 30, "most": 30}
    assert set(quantiles(values[:0], weight[:0]).values()) == {0.0}


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene(tmp_path)


def surveyed(scene: Scene, dataset: contents.Contents, **options: object) -> Survey:
    arguments = {"refuse_pixels": REFUSE, "threads": 2} | options
    return survey.survey(scene.objects, dataset, distinct_images(dataset), **arguments)  # type: ignore[arg-type]


def read(scene: Scene, products: int = 40) -> contents.Contents:
    manifest = scene.ingest({n: (10, [jpeg(n, (16 + n, 16)), jpeg(n + 1000)]) for n in range(1, products + 1)})
    return contents.read(scene.objects, manifest, lambda done, total: None)


def test_neighbours_are_read_together_and_come_out_right(scene):
    dataset = read(scene)
    scene.objects.read_keys.clear()
    files = list(read_images(scene.objects, dataset, np.arange(dataset.images)))
    md5 = [hashlib.md5(file, usedforsecurity=False).digest() for file in files]
    assert md5 == [row.astype(">u8").tobytes() for row in dataset.md5]
    assert len(scene.objects.read_keys) == len(dataset.manifest.packs) < dataset.images
    assert list(read_images(scene.objects, dataset, np.arange(0))) == []


def test_images_far_apart_are_read_apart(scene, monkeypatch):
    monkeypatch.setattr(survey, "_GAP_BYTES", 100)
    dataset = read(scene)
    rows = np.arange(0, dataset.images, 8)
    files = list(read_images(scene.objects, dataset, rows))
    assert [len(file) for file in files] == dataset.length[rows].tolist()


def test_a_survey_looks_at_each_distinct_image_once(scene, monkeypatch):
    monkeypatch.setattr(survey, "_TASK_IMAGES", 7)
    dataset = read(scene)
    said: list[survey.SurveyProgress] = []
    ticks = iter(range(1000))
    found = surveyed(scene, dataset, report=said.append, clock=lambda: float(next(ticks)))
    assert sorted(found.width.tolist()) == sorted([*range(17, 57), *[24] * 40])
    order = found.row.argsort()
    assert found.width[order][::2].tolist() == list(range(17, 57)), "each look stands beside its own row"
    assert [one.done for one in said] == sorted(one.done for one in said)
    assert (said[-1].done, said[-1].total, said[-1].seconds_left) == (80, 80, 0)
    assert said[-1].rate == pytest.approx(80 / len(said))
    assert surveyed(scene, dataset, limit=30, threads=1).row.tolist() == surveyed(scene, dataset, limit=30).row.tolist()


def test_packs_of_another_dataset_are_read_there(scene):
    dataset = read(scene)
    manifest = replace(dataset.manifest, dataset="relabelled")
    assert (
        surveyed(scene, replace_manifest(dataset, manifest)).width.tolist() == surveyed(scene, dataset).width.tolist()
    )


def replace_manifest(dataset: contents.Contents, manifest: object) -> contents.Contents:
    fields = ("taxonomy", "product_id", "class_index", "first_image", "md5", "pack", "offset", "length")
    return contents.Contents(manifest, *(getattr(dataset, name) for name in fields))  # type: ignore[arg-type]


def test_an_interruption_leaves_no_thread(scene, monkeypatch):
    monkeypatch.setattr(survey, "_TASK_IMAGES", 1)
    dataset = read(scene)

    def interrupt(progress: survey.SurveyProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surveyed(scene, dataset, report=interrupt)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("look")] == []


def test_a_failing_store_is_no_fault_of_an_image(scene):
    dataset = read(scene)
    scene.objects.delete("datasets/d/packs/00001.bson")
    with pytest.raises(Exception, match="00001"):
        surveyed(scene, dataset)
