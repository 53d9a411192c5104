"""The command line as a client of a gateway: it says what it says on the stores themselves."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cli import client as clients
from shared import layout, training_requests
from shared.packs import read_taxonomy
from tests.conftest import TINY, Shop
from tests.cutter import Cutter
from tests.gateway_scene import Scene, gateway

TENANT = "local"  # whose jobs the command line makes
Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def scene(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("gateway") / "home"
    shop.copy(home)
    with gateway(home) as found:
        yield found


@pytest.fixture
def here(shell: Verb, scene: Scene) -> Verb:
    """Runs a verb on the stores."""
    return lambda *arguments: shell("--home", scene.settings.home, *arguments)


@pytest.fixture
def there(shell: Verb, scene: Scene) -> Verb:
    """Runs a verb at the gateway, as an admin."""
    secret = scene.secret("admin", TENANT)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code, out, err = shell("--server", scene.url, *arguments, "--key", secret)
        assert secret not in out + err
        return code, out, err

    return run


def one_line(found: tuple[int, str, str], code: int, *words: str) -> None:
    assert (found[0], found[1]) == (code, "")
    (line,) = found[2].splitlines()
    assert line.startswith("shelver: ")
    assert [word for word in words if word not in line] == [], line


SHOWN = ("datasets", "jobs", "jobs JOB", "keys", "runs", "ensembles", "ensembles show tiny")


@pytest.mark.parametrize("line", [*SHOWN, *(f"{verb} --json" for verb in SHOWN), "jobs JOB --watch", "runs first"])
def test_a_verb_says_the_same_in_both_places(line: str, here: Verb, there: Verb, shop: Shop) -> None:
    arguments = [shop.job if word == "JOB" else word for word in line.split()]
    theirs = there(*arguments)
    assert theirs == here(*arguments)
    assert theirs[0] == 0


def test_a_run_in_json_is_the_same_but_for_its_last_progress(here: Verb, there: Verb) -> None:
    mine, theirs = (json.loads(run("runs", "second", "--json")[1]) for run in (here, there))
    assert theirs["log"]
    assert theirs == mine | {"progress": None}


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_an_export_has_the_same_bytes(form: str, here: Verb, there: Verb, shop: Shop, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    said = [run("export", shop.job, "--format", form, "-o", file) for run, file in ((here, mine), (there, theirs))]
    assert theirs.read_bytes() == mine.read_bytes()
    assert said[0] == (0, said[1][1].replace("theirs", "mine"), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "theirs"]
    assert there("export", shop.job, "--format", form, "--combination", "one", "-o", theirs)[0] == 0
    assert here("export", shop.job, "--format", form, "--combination", "one", "-o", mine)[0] == 0
    assert theirs.read_bytes() == mine.read_bytes()


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_an_export_goes_on_after_each_break(
    form: str, here: Verb, shell: Verb, scene: Scene, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "PAUSES", (0.0,) * 4)
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    assert here("export", shop.job, "--format", form, "-o", mine)[0] == 0
    with Cutter(scene.url, most=mine.stat().st_size // 3) as cutter:
        asks = ("--server", cutter.url, "--key", scene.secret("read", TENANT))
        assert shell(*asks, "export", shop.job, "--format", form, "-o", theirs)[0] == 0
        assert cutter.cut >= 3
    assert theirs.read_bytes() == mine.read_bytes()


def test_an_export_that_never_ends_leaves_no_file(
    shell: Verb, scene: Scene, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "PAUSES", (0.0,))
    with Cutter(scene.url, most=2000) as cutter:  # the job, and no whole file of its answers
        asks = ("--server", cutter.url, "--key", scene.secret("read", TENANT))
        file = tmp_path / "answers.parquet"
        one_line(shell(*asks, "export", shop.job, "--format", "parquet", "-o", file), 1, cutter.url, "does not answer")
    assert list(tmp_path.iterdir()) == []


def test_weights_from_elsewhere_are_imported(there: Verb, scene: Scene, shop: Shop, tmp_path: Path) -> None:
    runs = scene.stores.runs.version("tiny").runs
    options = []
    for member, run in runs.items():
        file = scene.settings.home.parent / f"{member}.safetensors"
        file.write_bytes(scene.stores.objects.read(layout.run_file(run, "weights.safetensors")))
        options += ["--weights", f"{member}={file}"]
    order = ["ensembles", "import", shop.ensemble_file, "--dataset", "train", "--no-current"]
    code, out, err = there(*order, *options)
    assert (code, err) == (0, "")
    (imported,) = [one for one in scene.stores.runs.versions() if one.imported]
    assert out == f"ensemble tiny@{imported.version} is ready\n"
    assert there("ensembles", "show", f"tiny@{imported.version}")[1].count("from elsewhere") == 1
    one_line(there(*order, "--weights", "first=/etc/passwd"), 2, "/etc/passwd", "none of the folders")


def test_what_the_server_cannot_begin_is_refused(there: Verb, scene: Scene, shop: Shop) -> None:
    nowhere = scene.settings.home.parent / "nowhere.bson"
    one_line(there("ingest", nowhere, "--dataset", "new"), 2, "nowhere.bson", "no such file")
    one_line(there("ingest", "-", "--dataset", "new"), 2, "standard input")
    one_line(there("ingest", "/etc/passwd.bson", "--dataset", "new"), 2, "none of the folders")
    one_line(there("train", shop.ensemble_file, "--dataset", "nowhere"), 2, "nowhere")
    one_line(there("runs", "nothing"), 2, "there is no run 'nothing'")
    one_line(there("ensembles", "show", "nobody"), 2, "nobody")


def test_score_finds_what_is_scored(there: Verb, shop: Shop) -> None:
    order = ["score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128", "--json"]
    code, out, err = there(*order)
    assert code == 0
    assert err == f"job {shop.job} has scored this already: succeeded\n"
    assert json.loads(out)["job"] == shop.job


def test_a_job_that_nobody_drives_is_cancelled(there: Verb, scene: Scene) -> None:
    with scene.client("submit", TENANT) as client:
        job = client.post("/v1/jobs", json={"dataset": "test", "ensemble": "tiny", "chunk_images": 9}).json()["id"]
    assert there("cancel", job) == (0, f"job {job} is being cancelled by the process that runs it\n", "")
    assert scene.stores.jobs.job(job).state == "cancelling"
    code, out, _ = there("cancel", job)
    assert (code, "cancelled" in out) == (0, True)


def test_a_training_is_cancelled_and_asked_for_again(here: Verb, there: Verb, scene: Scene, tmp_path: Path) -> None:
    file = TINY.replace("name: tiny", "name: slow").replace("epochs: 2", "epochs: 7")
    with scene.client("submit") as client:
        training = client.post("/v1/trainings", json={"file": file, "dataset": "train"}).json()["id"]
    for run in (there, here):
        assert run("cancel", training) == (0, f"training {training} is cancelled\n", "")
    assert scene.stores.runs.training(training).state == "cancelled"
    again = tmp_path / "slow.yaml"
    again.write_text(file)

    def cancel_once_it_runs() -> None:
        while scene.stores.runs.training(training).state != "running":
            time.sleep(0.02)
        training_requests.cancel(scene.stores, training)

    threading.Thread(target=cancel_once_it_runs, daemon=True).start()
    code, _, err = there("train", again, "--dataset", "train")
    last = f"shelver: training {training} is cancelled; the same `shelver train` tries it again"
    assert (code, err.splitlines()[-1]) == (1, last)
    one_line(there("cancel", "0123"), 2, "there is no job '0123'")


def test_what_nothing_uses_is_removed(there: Verb, scene: Scene, shop: Shop) -> None:
    job = replace(scene.stores.jobs.job(shop.job), id="0e1f", tenant=TENANT)
    scene.stores.jobs.create(job)
    assert there("rm", "job", job.id) == (0, "job 0e1f is removed\n", "")
    one_line(there("rm", "job", job.id), 2, "there is no job '0e1f'")
    one_line(there("rm", "dataset", "train"), 2, "in use")
    one_line(there("rm", "run", scene.stores.runs.version("tiny").runs["first"]), 2, "in use")
    one_line(there("rm", "training", "0e1f"), 2, "datasets, runs and jobs only", "`shelver cancel 0e1f` stops it")
    one_line(there("rm", "ensemble", "tiny@0e1f"), 2, "datasets, runs and jobs only")


def test_predict_shows_what_the_gateway_answers(there: Verb, scene: Scene, shop: Shop, grocery: Path) -> None:
    (outcome,) = scene.stores.jobs.outcomes(shop.job, limit=1)
    predictions = dict(outcome.predictions)
    scene.queue.answer = lambda _: {
        "error": "",
        "source": "model",
        "overridden": 0.0,
        "predictions": predictions,
        "model_only": {},
        "seconds": 0.25,
        "stages": {},
    }
    apple = grocery / "apple.jpg"
    code, out, _ = there("predict", apple, apple, "--ensemble", "tiny")
    assert code == 0
    assert scene.queue.asked[-1] == [apple.read_bytes()] * 2
    best = outcome.predictions["all"]
    assert out.splitlines()[1].split()[0] == str(best["category_id"])
    assert f"{best['probability']:.4f}" in out.splitlines()[1]
    assert "source: model" in out
    assert "decision" not in out
    code, out, _ = there("predict", apple, "--ensemble", "tiny", "--json")
    assert code == 0
    assert json.loads(out)["predictions"]["all"]["category_id"] == best["category_id"]
    predictions["all"] = best | {"decision": "level 1"}
    out = there("predict", apple, "--ensemble", "tiny")[1]
    taxonomy = read_taxonomy(scene.stores.objects, "train")
    assert f"decision: level 1, {taxonomy.nodes[0][best['nodes'][0][0]][0]}\n" in out
    one_line(there("predict", apple, "--ensemble", "nobody"), 2, "nobody")
    one_line(there("predict", Path(__file__), "--ensemble", "tiny"), 2, "number 0: it is no picture")


@pytest.mark.parametrize("place", ["here", "there"])
def test_keys_are_made_listed_and_revoked(place: str, shell: Verb, scene: Scene, request: Any) -> None:
    run: Verb = request.getfixturevalue(place)
    code, out, err = run("keys", "add", "nightly", "--tenant", TENANT, "--scope", "submit")
    secret = out.strip()
    assert (code, secret.startswith("shelver_"), "not shown again" in err) == (0, True, True)
    asks = ("--server", scene.url, "--key", secret)
    assert shell(*asks, "jobs")[0] == 0
    one_line(shell(*asks, "keys"), 2, "--key", "'admin'")
    (made,) = [one for one in json.loads(run("keys", "--json")[1]) if one["name"] == "nightly" and not one["revoked"]]
    assert (made["tenant"], made["scopes"]) == (TENANT, ["submit"])
    assert run("keys", "revoke", made["id"]) == (0, f"key {made['id']} is revoked\n", "")
    one_line(shell(*asks, "jobs"), 2, "--key", "revoked")
    one_line(run("keys", "revoke", "0123"), 2, "0123")
    one_line(run("keys", "add", "x", "--tenant", "two words", "--scope", "read"), 2, "tenant")


def test_server_and_key_from_the_environment(shell: Verb, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELVER_SERVER", scene.url)
    monkeypatch.setenv("SHELVER_KEY", scene.secret("read", TENANT))
    code, out, _ = shell("datasets", "--json")
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == ["test", "train"]
    one_line(shell("cancel", "0123"), 2, "--key", "'submit'")


def test_what_is_refused_is_one_line(shell: Verb, there: Verb, scene: Scene, shop: Shop, tmp_path: Path) -> None:
    one_line(there("jobs", "0123"), 2, "there is no job '0123'")
    one_line(there("export", "0123", "-o", tmp_path / "x.csv"), 2, "there is no job '0123'")
    one_line(there("export", shop.job, "--combination", "x", "-o", tmp_path / "x.csv"), 2, "'x' is not in the ensemble")
    one_line(there("export", shop.job, "-o", tmp_path / "nowhere" / "x.csv"), 2, "nowhere")
    one_line(there("score", "nowhere", "--ensemble", "tiny"), 2, "nowhere")
    one_line(there("jobs", "--watch"), 2, "--watch")
    one_line(shell("--server", scene.url, "--key", "shelver_wrong", "jobs"), 2, "--key", "not known")
    one_line(shell("--server", scene.url, "jobs"), 2, "--key", "SHELVER_KEY")
    one_line(shell("--server", "nonsense", "--key", "k", "jobs"), 2, "--server", "http(s)://")
    assert list(tmp_path.iterdir()) == []


LOCAL = [
    "describe test",
    "evaluate JOB --labels x.csv",
    "gc",
    "doctor",
    "up",
    "fit tiny --apply",
    "compare tiny",
    "relabel test --labels x.csv --as y",
    "split test --seed 1 --holdout 0.1",
    "demo --data examples/grocery",
]


@pytest.mark.parametrize("line", LOCAL)
def test_a_verb_of_the_stores_says_so(there: Verb, line: str) -> None:
    verb = line.split()[0]
    words = (f"`{verb}` works on the stores of this machine only", "SHELVER_SERVER", f"-- shelver {verb}`")
    one_line(there(*line.split()), 2, *words)


def test_a_server_that_is_away_is_one_line(shell: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PAUSES", (0.01, 0.01))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    one_line(shell("--server", address, "--key", "k", "jobs"), 1, address, "does not answer")
