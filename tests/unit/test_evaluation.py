from dataclasses import replace

import pytest

from tests.judging_scene import IDS, Scene


@pytest.fixture
def scene(tmp_path, make_dataset):
    return Scene(tmp_path, make_dataset)


def test_how_many_were_judged_comes_first(scene):
    scene.score()
    assert scene.evaluate().notes() == ["40 labelled products judged"]
    found = scene.evaluate(dict.fromkeys(IDS, 1000) | {1: 1000, 2: 1001})
    assert "2 labels name no product that this job has answered" in found.notes()


def test_a_job_that_ended_early_says_that_it_is_judged_in_part(scene):
    scene.job = replace(scene.job, state="cancelled")
    scene.score(range(100, 110))
    notes = scene.evaluate().notes()
    assert notes[0] == "10 labelled products judged"
    assert "the job is cancelled: only what it has answered so far is judged" in notes


def test_the_own_dataset_and_a_combination_that_saw_everything(scene):
    scene.on_training_dataset()
    scene.score()
    notes = scene.evaluate().notes()
    assert notes[0] == "40 labelled products in this job"
    assert "no figure for none: not one labelled product was held out by all of it" in notes


def test_skipped_networks_name_the_option(scene):
    scene.job = replace(scene.job, options=replace(scene.job.options, skip_decided=True))
    scene.score()
    assert any("--no-skip-decided" in note for note in scene.evaluate().notes())


def test_the_default_combination_is_the_last(scene):
    scene.score()
    assert scene.evaluate().default.combination == "last"
