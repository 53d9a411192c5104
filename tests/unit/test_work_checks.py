"""doctor's lines about trainings, runs and jobs, by how they ended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.checks import Check
from services.cli.work_checks import job_checks, score_command, training_checks
from shared.domain.records import JobOptions
from shared.packs import Manifest, read_manifest
from shared.settings import LauncherSettings, Settings
from tests.retention_home import Home, ago, job, run, training


@pytest.fixture
def home(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Home:
    return Home(tmp_path, make_dataset)


def look(home: Home, *, busy: bool = False) -> dict[str, Check]:
    settings = Settings(home=home.folder)
    lines = [*training_checks(settings, home.stores, busy=busy), *job_checks(settings, home.stores, busy=busy)]
    return {check.name: check for check in lines}


def test_an_interrupted_training_can_go_on_or_be_given_up(home: Home) -> None:
    home.add(run("r1", state="pending"), training("t1", "r1", state="running"), training("t2", "r1"))
    (check,) = look(home).values()
    assert (check.ok, check.words) == (True, "of e on d, interrupted")
    assert "`shelver train` the file of e with --dataset d" in check.remedy
    assert "shelver rm training t1" in check.remedy
    (under_way,) = look(home, busy=True).values()
    assert (under_way.ok, under_way.words, under_way.remedy) == (True, "of e on d, under way", "")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("exit code 1: CUDA error: out of memory", "lower batch_size"),
        ("ended from outside 8 times in a row before its next checkpoint; out of memory?", "close other programs"),
        ("its parent M is failed", "mend that one first"),
        ("exit code 1: it said nothing", "processes/train-r1-3/log has all it said"),
    ],
)
def test_a_failed_run_says_why_and_what_to_do(home: Home, reason: str, remedy: str) -> None:
    home.add(run("r1", state="failed", reason=reason, attempt=3))
    check = look(home)["run r1"]
    assert (check.ok, check.words) == (False, f"M failed: {reason}")
    assert remedy in check.remedy
    assert check.remedy.endswith("then `shelver train` again, or give it up: shelver rm run r1")


def test_a_failed_run_of_a_cluster_has_its_last_lines_in_the_object_store(home: Home) -> None:
    home.add(run("r1", state="failed", reason="exit code 1: no luck", attempt=3))
    settings = Settings(home=home.folder, launcher=LauncherSettings(templates="/etc/shelver/jobs"))
    (check,) = training_checks(settings, home.stores, busy=False)
    assert "mend that (runs/r1/attempts/3.log in the object store has its last lines)" in check.remedy


def test_an_interrupted_removal_of_a_run(home: Home) -> None:
    home.add(run("r1", state="cancelled", reason="removed"), run("r2", state="cancelled"))
    (check,) = look(home).values()
    assert (check.ok, check.words) == (False, "its removal was interrupted")
    assert check.remedy == "finish it: shelver rm run r1"


SMALL = "the cuda device is too small for this ensemble: one picture at a time does not fit"


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"error": SMALL}, "use a device with more memory, SHELVER_SCORING_DEVICE=cpu, or fewer members"),
        ({"error": "device 'cuda' is not there"}, "unset SHELVER_SCORING_DEVICE"),
        ({"error": "worker w was lost", "waves": 3}, "its workers died together 3 times"),
        ({"error": "worker w was lost", "unready_losses": 3}, "died 3 times before they were ready"),
        ({"error": "something else"}, "logs/scoring.log may say more"),
        ({"error": "the dataset is not the one", "dataset_fingerprint": "other"}, "the dataset d is not what it was"),
        ({"error": "no dataset", "dataset": "gone"}, "the dataset gone is not what it was: shelver rm job j1"),
    ],
)
def test_a_failed_job_says_why_and_what_to_do(home: Home, values: dict[str, object], remedy: str) -> None:
    fingerprint = read_manifest(home.stores.objects, "d").fingerprint
    failed = job("j1", state="failed", **{"dataset_fingerprint": fingerprint, **values})
    home.add(failed)
    check = look(home)["job j1"]
    assert (check.ok, check.words) == (False, f"failed: {values['error']}")
    assert remedy in check.remedy
    assert f"then score again: shelver score {failed.dataset} --ensemble e@v0" in check.remedy


def test_a_failed_job_that_a_newer_one_made_up_for_is_no_fault(home: Home) -> None:
    home.add(job("j1", state="failed", error="worker lost"), job("j2", ended=ago(1)))
    (check,) = look(home).values()
    assert (check.name, check.ok, check.remedy) == ("job j1", True, "shelver rm job j1")
    assert "worker lost" in check.words


def test_a_failure_after_an_answer_is_a_fault(home: Home) -> None:
    home.add(job("j1", ended=ago(1)), job("j2", state="failed", error="worker lost"))
    assert not look(home)["job j2"].ok


def test_an_unfinished_job_can_go_on_or_be_given_up(home: Home) -> None:
    home.add(job("j1", state="running", ended=0.0), job("j2", state="cancelling", ended=0.0))
    found = look(home)
    assert found["job j1"].ok
    assert found["job j1"].remedy == (
        "go on: shelver score d --ensemble e@v0 --duplicates none,none; or give it up: shelver cancel j1"
    )
    assert found["job j2"].remedy == "go on: shelver cancel j2"
    assert look(home, busy=True)["job j1"].remedy == ""


def test_the_command_of_a_job_names_all_that_is_not_the_default() -> None:
    options = JobOptions(
        image_duplicates="unique",
        product_duplicates="majority",
        skip_decided=False,
        chunk_images=64,
        keep_scores=True,
        since="j0",
    )
    assert score_command(replace(job("j1"), options=options)) == (
        "shelver score d --ensemble e@v0 --duplicates unique,majority --chunk-images 64 --no-skip-decided "
        "--keep-scores --since j0"
    )
