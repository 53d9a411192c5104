import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from services.reports import report
from services.reports.pictures import NOT_A_PICTURE, Thumbnails
from shared import layout
from shared.domain import taxonomy
from tests.judging_scene import IDS, Answer, Scene

VOID = {"meta", "img", "br", "hr", "input", "link", "path", "use"}
CARD = {
    "parameters": 11_000_000,
    "bytes": 2**20,
    "flops": 2_500_000_000,
    "device": "CPU x",
    "threads": 2,
    "peak_memory_bytes": 2**30,
    "peak_memory_of": "process",
    "load_seconds": 0.05,
    "inference": [{"precision": "bf16", "batch": 16, "seconds": 0.5, "images_per_second": 32.0, "rounds": 5}],
    "accuracy": {"bf16": {"accuracy": 0.5, "n": 10, "interval": [0.2, 0.8]}, "fp16": {"accuracy": None, "n": 0}},
}


class Page(HTMLParser):
    """The words, pictures and references of a page; every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.pictures, self.references, self.ids, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.pictures.append(known["src"])
        self.references += [value for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def scene(tmp_path, make_dataset):
    return Scene(tmp_path, make_dataset)


def page(scene, known=None, tree=None):
    return report.page(scene.evaluate(known), scene.stores.objects, tree or scene.taxonomy)


def test_one_file_that_asks_for_nothing_else(scene):
    scene.answers = {100: Answer(both=(1, 0.7)), 101: Answer(both=(2, 0.95))}
    scene.score()
    text = page(scene)
    read = Page(text)
    assert read.pictures
    for reference in read.references:
        assert reference.startswith(("data:image/", "#")), reference
    assert all(reference[1:] in read.ids for reference in read.references if reference.startswith("#"))
    assert len(set(read.ids)) == len(read.ids)
    assert "<script" not in text
    assert "@import" not in text
    assert "url(http" not in text


def test_the_story_in_its_order(scene):
    scene.answers = {100: Answer(both=(1, 0.7)), 101: Answer(both=(2, 0.95), source="product duplicate")}
    scene.score()
    text = Page(page(scene)).text
    places = [
        text.index(words)
        for words in (
            "How well other is sorted",
            "Of 40 products whose category is known, tiny put 95.0 % into the right one",
            "40 labelled products judged",
            "Accuracy of the surest answers",
            "Expected calibration error",
            "Worst categories",
            "class 0 → class 1",
            "class 2, 95.0 %",
            "Macro precision",
            "From request to end",
        )
    ]
    assert places == sorted(places)
    assert "label: class 0 product 101 by product duplicate" in text
    assert "From request to end 1 min 00 s" in text
    assert "Forward 5.0 s" in text


def test_the_page_tells_what_was_decided_where_something_was(scene):
    scene.score()
    assert "What was decided" not in page(scene)
    scene.stores.jobs.remove_job("j")
    scene.answers = {100: Answer(decision="accept"), 101: Answer(both=(1, 0.9), decision="level 1")}
    scene.score()
    text = Page(page(scene)).text
    assert "What was decided" in text
    assert "all accept 1 2.5 % (0.4" in text
    assert "all level 1 1 2.5 %" in text
    assert "model accept 1 2.5 %" in text


def test_names_of_a_catalog_are_text_and_never_markup(scene):
    tree = taxonomy.build([1000, 1001, 1002], [("<b>shop</b>", "&", f"<script>{i}</script>") for i in range(3)])
    scene.answers = {100: Answer(both=(1, 0.7))}
    scene.score()
    text = page(scene, tree=tree)
    assert "<script" not in text
    assert "<b>shop" not in text
    assert "<script>0</script> → <script>1</script>" in Page(text).text


def test_pictures_of_the_mistake_and_of_the_category_it_was_put_into(scene):
    scene.answers = {100: Answer(both=(1, 0.7))}
    scene.score()
    mistake, typical, again = Page(page(scene)).pictures
    assert mistake == again == NOT_A_PICTURE, "the scene's products have bytes that no reader takes"
    assert typical.startswith("data:image/jpeg;base64,")
    found = report.typical_pictures(scene.stores.objects, scene.training, [1001, 1002, 77])
    assert set(found) == {1001, 1002}
    assert typical == found[1001] != found[1002]


def test_a_category_whose_first_pictures_are_spoiled_shows_the_next(scene, make_dataset):
    """Products 100, 103, 106 ... are of category 1001, and 101, 104, 107 ... of 1002."""
    whole = scene.stores.objects
    spoiled = make_dataset(whole, "spoiled", spoiled=frozenset({100, 103, 101, 104, 107}))
    found = report.typical_pictures(whole, spoiled, [1001, 1002])
    assert found == {1001: Thumbnails(whole, spoiled).of([106])[106][0]}


def test_worst_categories_have_enough_products_and_a_mistake(scene):
    known = dict(zip(IDS, [1000] * 20 + [1001] * 18 + [1002] * 2, strict=True))
    scene.answers = dict.fromkeys(range(120, 140), Answer(both=(0, 0.6)))
    scene.score()
    found = scene.evaluate(known).detail.categories
    assert [one.category_id for one in report.worst(found, "multiclass")] == [1001], (
        "1002 has two products, 1000 no mistake"
    )
    assert "1 with fewer than 3 judged products left out" in Page(page(scene, known)).text


def test_member_cards_and_curves(scene):
    objects = scene.stores.objects
    line = {"kind": "epoch", "epoch": 1, "step": 5, "loss": 1.0, "accuracy": 0.5, "watch": {"loss": 2.0, "products": 4}}
    objects.put(layout.run_file("run-a", "log.jsonl"), (json.dumps(line) + "\n").encode())
    objects.put(layout.run_file("run-a", "card.json"), json.dumps(CARD).encode())
    scene.score()
    text = Page(page(scene)).text
    for words in ("11,000,000", "1.0 MiB", "2.5 GFLOPs", "500 ms (32 images/s)", "50.0 % (20.0-80.0 %, n = 10)"):
        assert words in text
    assert text.count("Its log is not kept.") == 3, "the other members"
    assert "watched images" in text
    assert report.card_facts({}) == {}


@pytest.mark.parametrize("known", [{100: 1000}, {100: 1001}, dict.fromkeys(IDS, 1000)])
@pytest.mark.parametrize("answer", [Answer(), Answer(error="not read"), Answer(alone=None), Answer(both=(2, 1.0))])
def test_every_case_gives_a_page(scene, known, answer):
    """One product, one class, all wrong, all errors; warnings are errors."""
    scene.default = answer
    scene.score()
    text = Page(page(scene, known)).text
    assert "nan" not in text.lower().split()
    assert f"{len(known)} labelled products judged" in text
    assert ("without an answer they count as wrong" in text) == bool(answer.error)


def test_skipped_networks_and_the_own_dataset(scene):
    scene.job = replace(scene.job, options=replace(scene.job.options, skip_decided=True))
    scene.default = Answer(alone=None, source="product duplicate")
    scene.score()
    text = Page(page(scene)).text
    assert "score with --no-skip-decided to see what they are worth" in text
    assert "right, networks alone" not in text
    scene.job = replace(scene.job, options=replace(scene.job.options, skip_decided=False))
    scene.on_training_dataset()
    text = Page(page(scene)).text
    assert "the ensemble's own dataset: judged without duplicates" in text
    assert "right, with duplicates" not in text


def test_nothing_that_can_be_judged_fairly_still_is_a_page(scene):
    scene.on_training_dataset()
    scene.score()
    product = min(set(IDS) - scene.held_out("A"))
    text = Page(page(scene, {product: 1000})).text
    assert "Not one labelled product of tiny was new to combination last" in text
    assert "What can be trusted" not in text


def test_moments_are_utc():
    assert report.moment(0.0) == "not yet"
    assert report.moment(1795370519.9) == "2026-11-22 18:01 UTC"
