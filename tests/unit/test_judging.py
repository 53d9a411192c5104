import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared import layout
from shared.domain.errors import BadInputError
from shared.domain.records import JobOptions
from tests.judging_scene import IDS, Answer, Scene

SKIPPING = JobOptions(image_duplicates="unique", product_duplicates="unique", skip_decided=True)


@pytest.fixture
def scene(tmp_path, make_dataset):
    return Scene(tmp_path, make_dataset)


def test_another_dataset_is_judged_with_and_without_duplicates(scene):
    scene.answers = {100: Answer(alone=(1, 0.8)), 101: Answer(error="not read")}
    scene.score()
    found = scene.evaluate(dict.fromkeys(IDS, 1000) | {1: 1000})
    for one in found.combinations:
        assert one.with_duplicates is not None
        assert one.without_duplicates is not None
        assert (one.with_duplicates.n, one.with_duplicates.share) == (40, 39 / 40)
        assert (one.without_duplicates.n, one.without_duplicates.share) == (40, 38 / 40)
        assert one.trained == 0
    assert (found.labels, found.unknown, found.judged, found.errors, found.shared) == (41, 1, 40, 1, 0)


def test_an_error_is_wrong_on_every_level(scene):
    scene.answers = {101: Answer(error="not read"), 102: Answer(both=(1, 0.9))}
    scene.score()
    quality = scene.evaluate().default.quality_with_duplicates
    assert [level.share for level in quality.levels] == [39 / 40, 39 / 40, 38 / 40]
    assert quality.top5.share == 39 / 40


def test_the_own_dataset_is_judged_on_what_members_and_their_parents_held_out(scene):
    scene.on_training_dataset()
    scene.score()
    found = scene.evaluate()
    sizes = {one.combination: one.without_duplicates and one.without_duplicates.n for one in found.combinations}
    a, both = len(scene.held_out("A")), len(scene.held_out("A", "B"))
    assert sizes == {"one": a, "two": both, "warm": both, "none": None, "last": a}
    assert 0 < both < a
    assert [one.with_duplicates for one in found.combinations] == [None] * 5
    assert found.own_dataset
    assert found.detail.with_duplicates is False
    assert (found.detail.n, found.detail.sources) == (a, ())


def test_a_fitted_combination_is_not_judged_on_the_holdout_that_it_was_fitted_on(scene):
    scene.on_training_dataset()
    scene.version = replace(scene.version, fits={"last": {}})
    scene.score()
    found = scene.evaluate()
    sizes = {one.combination: one.without_duplicates and one.without_duplicates.n for one in found.combinations}
    assert sizes["one"] == len(scene.held_out("A"))
    assert sizes["last"] is None
    assert found.default.trained == 40


def test_errors_count_where_they_are_judged_only(scene):
    scene.on_training_dataset()
    scene.answers = {product: Answer(error="not read") for product in IDS}
    scene.score()
    found = scene.evaluate()
    assert found.errors == found.judged == len(scene.held_out("A"))
    assert found.errors < 40


@pytest.mark.parametrize("products", [40, 50])
def test_a_copy_of_the_training_dataset_is_recognised_by_ids_and_pictures(scene, make_dataset, products):
    """Relabelled (40 products, another fingerprint) or grown: what members were trained on is not judged."""
    copy = make_dataset(scene.stores.objects, "copy", products=products)
    scene.job = replace(scene.job, dataset="copy", dataset_fingerprint=f"{copy.fingerprint}, relabelled")
    ids = range(100, 100 + products)
    scene.score(ids)
    found = scene.evaluate(dict.fromkeys(ids, 1000))
    held_out = len(scene.held_out("A"))
    one = found.default
    assert (found.shared, found.own_dataset, one.trained) == (40, False, 40 - held_out)
    assert one.without_duplicates.n == held_out + products - 40
    assert (one.with_duplicates.n if one.with_duplicates else 0) == products - 40, "the table knows the other labels"
    words = f"40 labelled products are in the training dataset 'tiny' too (same id and first image): {40 - held_out:,}"
    assert any(note.startswith(words) for note in found.notes())


def test_equal_ids_with_other_pictures_are_other_products(scene):
    scene.score()
    assert scene.evaluate().shared == 0


def test_decided_products_that_skipped_the_networks(scene):
    scene.job = replace(scene.job, options=SKIPPING)
    scene.default = Answer(alone=None, source="product duplicate")
    scene.score()
    found = scene.evaluate()
    assert found.default.without_duplicates is None
    assert found.default.with_duplicates.n == 40
    assert [(one.source, one.network) for one in found.detail.sources] == [("product duplicate", None)]
    assert found.detail.calibration_without_duplicates is None


def test_the_own_dataset_without_what_skipped_the_networks_is_refused(scene):
    scene.on_training_dataset()
    scene.job = replace(scene.job, options=SKIPPING)
    scene.score()
    with pytest.raises(BadInputError, match="decided ones skipped the networks; score --no-skip-decided"):
        scene.evaluate()


def test_a_job_without_answers_says_so(scene):
    scene.job = replace(scene.job, state="cancelled")
    with pytest.raises(BadInputError, match="job j: it is cancelled and has no answers"):
        scene.evaluate()
    scene.score([100])
    with pytest.raises(BadInputError, match="--labels: none of its products is in this job"):
        scene.evaluate({7: 1000})


def test_sources_are_shares_of_all_products_and_carry_what_the_networks_say(scene):
    by_image = Answer(both=(0, 1.0), alone=(1, 0.6), source="image duplicate")
    scene.answers = dict.fromkeys(range(100, 110), by_image) | {110: Answer(error="not read")}
    scene.score()
    model, image, error = scene.evaluate().detail.sources
    assert (model.source, image.source, error.source) == ("model", "image duplicate", "error")
    assert [one.coverage.share for one in (model, image, error)] == [29 / 40, 10 / 40, 1 / 40]
    assert [one.accuracy.share for one in (model, image, error)] == [1.0, 1.0, 0.0]
    assert [one.network.share for one in (model, image, error)] == [1.0, 0.0, 0.0]


def test_what_was_decided_of_all_and_by_source(scene):
    accepted, wrong = Answer(decision="accept"), Answer(both=(1, 0.9), decision="accept")
    level = Answer(both=(1, 0.9), decision="level 2")  # every class lies on the same shelf
    scene.default = Answer(both=(2, 0.4), decision="review")
    scene.answers = (
        dict.fromkeys(range(100, 110), accepted)
        | {110: wrong, 111: level, 112: Answer(error="not read")}
        | dict.fromkeys(range(113, 118), replace(accepted, source="product duplicate"))
    )
    scene.score()
    found = scene.evaluate()
    assert [
        (one.source, one.decision, one.share.n, one.right.n, one.right.share) for one in found.detail.decisions
    ] == [
        ("", "accept", 40, 16, 15 / 16),
        ("", "level 2", 40, 1, 1.0),
        ("", "review", 40, 22, 0.0),
        ("model", "accept", 34, 11, 10 / 11),
        ("model", "level 2", 34, 1, 1.0),
        ("model", "review", 34, 22, 0.0),
        ("product duplicate", "accept", 5, 5, 1.0),
    ]
    assert [one.share.share for one in found.detail.decisions[:3]] == [16 / 40, 1 / 40, 22 / 40]
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["detail"]["decisions"][0]["right"]["n"] == 16


def test_nothing_was_decided_without_a_fit_or_where_only_the_networks_are_judged(scene):
    scene.score()
    assert scene.evaluate().detail.decisions == ()
    scene.default = Answer(decision="accept")
    scene.on_training_dataset()
    scene.stores.jobs.remove_job("j")
    scene.score()
    assert scene.evaluate().detail.decisions == ()


def test_mistakes_the_most_certain_first_and_pairs_the_most_frequent_first(scene):
    scene.answers = {
        100: Answer(both=(1, 0.7)),
        101: Answer(both=(2, 0.95), source="product duplicate"),
        102: Answer(both=(1, 0.8)),
    }
    scene.score()
    detail = scene.evaluate().detail
    assert [(one.product, one.said, one.probability) for one in detail.mistakes] == [
        (101, 1002, 0.95),
        (102, 1001, 0.8),
        (100, 1001, 0.7),
    ]
    assert [one.source for one in detail.mistakes] == ["product duplicate", "model", "model"]
    assert [(one.known, one.said, one.count, one.example.product) for one in detail.pairs] == [
        (1000, 1001, 2, 102),
        (1000, 1002, 1, 101),
    ]
    assert [(one.category_id, one.recall.share, one.said) for one in detail.categories] == [(1000, 37 / 40, 37)]


@pytest.mark.parametrize(
    "known", [{100: 1000}, {100: 1001}, dict.fromkeys(IDS, 1000), dict(zip(IDS, [1000, 1001] * 20, strict=True))]
)
@pytest.mark.parametrize("answer", [Answer(), Answer(error="not read"), Answer(alone=None), Answer(both=(2, 1.0))])
def test_every_case_gives_json_without_nan(scene, known, answer):
    """One product, one class, all wrong, all errors, and a home of which no run has a file; warnings are errors."""
    scene.default = answer
    scene.score()
    found = scene.evaluate(known)
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["schema"] == 1
    assert plain["combinations"][0]["with_duplicates"]["n"] == len(known)
    assert plain["errors"] == (len(known) if answer.error else 0)
    assert plain["notes"]


def keep_scores(scene, products, probability, best=3):
    """As a job that keeps the `best` classes of each product has them in its first chunk: float[n, classes]."""
    options = replace(scene.job.options, keep_scores=True)
    scene.job = replace(scene.job, options=options)
    order = np.argsort(-probability, axis=1)[:, None, :best].repeat(len(scene.ensemble.combinations), axis=1)
    stream = BytesIO()
    np.savez(
        stream,
        product=np.array(products),
        combination=np.array(list(scene.ensemble.combinations)),
        class_index=order.astype(np.int32),
        probability=np.take_along_axis(probability[:, None, :], order, axis=2).astype(np.float32),
        rest=np.zeros(order.shape[:2], np.float32),
    )
    key = layout.chunk_scores("j", "c0", 0)
    scene.stores.objects.put(key, stream.getvalue())
    (chunk, *_) = scene.stores.jobs.chunks("j", ["done"])
    assert scene.stores.jobs.swap_chunk(chunk, replace(chunk, scores=key, generation=chunk.generation + 1))


def test_the_area_under_the_curve_where_a_job_keeps_the_scores_of_all_classes(scene, seed):
    scene.answers = {139: Answer(error="not read")}
    scene.score()
    known = dict(zip(IDS, [1000, 1001] * 15 + [1002] * 10, strict=True))
    assert scene.evaluate(known).default.quality_with_duplicates.auc is None
    probability = np.random.default_rng(seed).dirichlet([1.0] * 3, 39)
    keep_scores(scene, list(IDS)[:39], probability)
    found = scene.evaluate(known).default
    said = np.vstack([probability, np.zeros((1, 3))])  # a product with an error is the last in every class
    truth = scene.taxonomy.index_of(np.array(list(known.values())))
    areas = [roc_auc_score(truth == one, said[:, one]) for one in range(3)]
    assert found.quality_with_duplicates.auc == pytest.approx(np.mean(areas))
    assert found.quality_without_duplicates.auc is None
    nothing = replace(scene.job.options, image_duplicates="none", product_duplicates="none")
    scene.job = replace(scene.job, options=nothing)
    assert scene.evaluate(known).default.quality_without_duplicates.auc == pytest.approx(np.mean(areas))
    assert scene.evaluate(dict.fromkeys(IDS, 1000)).default.quality_with_duplicates.auc is None, "one class alone"


def test_no_area_under_the_curve_where_only_the_best_classes_are_kept(scene):
    scene.score()
    keep_scores(scene, list(IDS), np.random.default_rng(0).dirichlet([1.0] * 3, 40), best=2)
    known = dict(zip(IDS, [1000, 1001] * 20, strict=True))
    assert scene.evaluate(known).default.quality_with_duplicates.auc is None
