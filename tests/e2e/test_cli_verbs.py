import json
import subprocess
import sys

import pytest
import typer

from services.cli.verbs import app


def test_all_verbs_are_there():
    there = set(typer.main.get_command(app).commands)
    expected = (
        "cancel check datasets demo describe doctor ensembles evaluate export gc ingest jobs predict relabel rm runs"
    )
    assert there == {*expected.split(), "compare", "fit", "keys", "plan", "pretrained", "score", "split", "train", "up"}


def test_version(shell):
    code, out, _ = shell("--version")
    assert (code, out) == (0, "shelver 0.1.0\n")


def test_home_may_stand_anywhere(shell, shop):
    first = shell("--home", shop.home, "datasets", "--json")
    assert (
        first == shell("datasets", "--home", shop.home, "--json") == shell("datasets", "--json", f"--home={shop.home}")
    )
    assert [dataset["name"] for dataset in json.loads(first[1])] == ["test", "train"]


def test_home_from_the_environment(shell, shop, monkeypatch):
    monkeypatch.setenv("SHELVER_HOME", str(shop.home))
    assert json.loads(shell("ensembles", "--json")[1])[0]["current"]


def test_unknown_setting_is_refused(shell, monkeypatch):
    monkeypatch.setenv("SHELVER_LEASE", "3")
    code, _, err = shell("datasets")
    assert code == 2
    assert "SHELVER_LEASE" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "nowhere", "--ensemble", "tiny"], "nowhere"),
        (["score", "test", "--ensemble", "nobody"], "nobody"),
        (["jobs", "0123"], "0123"),
        (["export", "0123", "-o", "x.csv"], "0123"),
        (["check", "missing.yaml"], "missing.yaml"),
        (["ingest", "missing.bson", "--dataset", "x"], "missing.bson"),
        (["rm", "dataset", "nowhere"], "nowhere"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_2(shell, shop, arguments, words):
    code, _, err = shell("--home", shop.home, *arguments)
    assert code == 2
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_usage_errors_exit_2(shell):
    assert shell("ingest")[0] == 2
    assert shell("nonsense")[0] == 2


def test_score_again_goes_on_with_the_finished_job(shell, shop):
    again = ("score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128", "--json")
    code, out, _ = shell("--home", shop.home, *again)
    assert code == 0
    assert json.loads(out)["job"] == shop.job


def test_skipping_decided_products_changes_no_answer(shell, shop, tmp_path):
    code, out, _ = shell("--home", shop.home, "score", "test", "--ensemble", "tiny", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["job"] != shop.job
    assert found["decided"] > 0
    for name, job in (("all", shop.job), ("skipped", found["job"])):
        assert shell("--home", shop.home, "export", job, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "all").read_bytes() == (tmp_path / "skipped").read_bytes()
    assert shell("--home", shop.home, "rm", "job", found["job"])[0] == 0
    assert shell("--home", shop.home, "jobs", found["job"])[0] == 2


def test_what_is_in_use_is_not_removed(shell, shop):
    run = json.loads(shell("--home", shop.home, "ensembles", "--json")[1])[0]["runs"]["first"]
    for kind, name in (("dataset", "train"), ("dataset", "test"), ("run", run)):
        code, _, err = shell("--home", shop.home, "rm", kind, name)
        assert code == 2
        assert "in use" in err


def test_train_again_skips_what_is_complete(shell, shop):
    code, _, err = shell("--home", shop.home, "train", shop.ensemble_file, "--dataset", "train")
    assert code == 0
    assert "complete already" in err


def test_jobs_list_and_one_job(shell, shop):
    listed = json.loads(shell("--home", shop.home, "jobs", "--json")[1])
    assert shop.job in [job["id"] for job in listed]
    one = json.loads(shell("--home", shop.home, "jobs", shop.job, "--json")[1])
    assert (one["state"], one["done"], one["failed"]) == ("succeeded", 290, 0)


def test_doctor_is_content(shell, shop):
    code, out, _ = shell("--home", shop.home, "doctor", "--json")
    assert code == 0
    assert all(check["ok"] for check in json.loads(out))


def test_split_counts_products_of_both_parts(shell, shop):
    code, out, _ = shell("--home", shop.home, "split", "train", "--seed", "7", "--holdout", "0.2", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["training_products"] + found["holdout_products"] == 436
    assert 40 < found["holdout_products"] < 140


def test_command_line_imports_nothing_that_few_verbs_need():
    heavy = ("torch", "timm", "torchvision", "fastapi", "sklearn", "matplotlib")
    probe = f"import services.cli.verbs, sys; print(*sys.modules.keys() & {set(heavy)})"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True) == "\n"


WARM = """
name: warm
splits: {A: {seed: 7, holdout: 0.2}}
defaults: {split: A, epochs: 1, input: {size: 32}}
members:
  parent: {model: test_resnet}
  likely: {model: test_resnet, init: {member: parent}}
  unlike: {model: resnet10t, init: {member: parent}}
"""


def test_check_warns_of_a_parent_that_fills_little_of_its_child(shell, tmp_path):
    file = tmp_path / "warm.yaml"
    file.write_text(WARM)

    code, out, err = shell("check", file)

    assert code == 0
    assert [line.split(" member parent, ")[-1].strip() for line in out.splitlines()[2:4]] == ["100% of it", "0% of it"]
    assert [line.split(" starts from ")[0] for line in err.splitlines()] == ["unlike"]


def test_check_names_a_network_that_cannot_have_its_head(shell, tmp_path):
    file = tmp_path / "heads.yaml"
    file.write_text(WARM.replace("unlike: {model: resnet10t", "unlike: {model: inception_next_atto, head: average"))

    code, _, err = shell("check", file)

    assert code == 2
    assert "member unlike: timm cannot build 'inception_next_atto' with this head: " in err
    assert err.strip().endswith("; use another network, or its own head")
    assert len(err.splitlines()) == 1
