"""What goes and what stays: random homes against a walk of its own, kills at every deletion, and the single rules."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import layout
from shared.domain.ensemble import Init, Split
from shared.domain.errors import FailedError, StoreUnavailableError
from shared.domain.records import EnsembleVersion, Job, Run, Training
from shared.packs import read_manifest
from tests.retention_home import INGEST, Home, Make, ago, job, run, training, version
from tests.tiny_member import MEMBER

RUN_STATES = ("complete", "failed", "cancelled", "pending", "waiting", "running")
JOB_STATES = ("succeeded", "finished with errors", "failed", "cancelled", "running", "queued", "cancelling")


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def home(tmp_path: Path, make_dataset: Make) -> Home:
    """Three young runs, and nothing to remove."""
    home = Home(tmp_path, make_dataset)
    home.add(*(run(f"keep{split}", split=split, created=ago(1)) for split in range(3)))
    home.collect()
    return home


@dataclass
class Rows:
    runs: list[Run]
    trainings: list[Training]
    versions: list[EnsembleVersion]
    jobs: list[Job]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    ages = st.sampled_from([0.5, 29, 31, 89, 91, 400])
    count = draw(st.integers(0, 6))
    runs = [
        run(
            f"r{i}",
            split=draw(st.integers(0, 2)),
            state=(state := draw(st.sampled_from(RUN_STATES))),
            created=ago(draw(ages)),
            parent=draw(st.sampled_from(["", *(f"r{j}" for j in range(i))])),
            reason="removed" if state == "cancelled" and draw(st.booleans()) else "",
        )
        for i in range(count)
    ]
    some = st.lists(st.sampled_from([r.id for r in runs]), unique=True, max_size=3) if runs else st.just([])
    complete = [r.id for r in runs if r.state == "complete"]
    whole = st.lists(st.sampled_from(complete), unique=True, max_size=2) if complete else st.just([])
    states = st.sampled_from(["running", "complete", "failed"])
    trainings = [training(f"t{i}", *draw(some), state=draw(states)) for i in range(draw(st.integers(0, 3)))]
    versions = [version(f"v{i}", *draw(whole)) for i in range(draw(st.integers(0, 2)))]
    jobs = [
        job(
            f"j{i}",
            state=(state := draw(st.sampled_from(JOB_STATES))),
            ended=0.0 if state in ("running", "queued", "cancelling") else ago(draw(ages)),
            ensemble=draw(st.sampled_from(["e", "f"])),
            since=draw(st.sampled_from(["", *(f"j{j}" for j in range(i))])),
        )
        for i in range(draw(st.integers(0, 6)))
    ]
    return Rows(runs, trainings, versions, jobs)


def needed_runs(given: Rows) -> set[str]:
    """Reached from versions, unfinished trainings, what runs and what is young, over parents."""
    by_id = {one.id: one for one in given.runs}
    begin = [r for v in given.versions for r in v.runs.values()]
    begin += [r for t in given.trainings if t.state == "running" for r in t.runs.values()]
    begin += [r.id for r in given.runs if r.state == "running"]
    begin += [r.id for r in given.runs if r.created > ago(30) and r.reason != "removed"]
    reached: set[str] = set()
    while begin:
        name = begin.pop()
        if name and name not in reached:
            reached.add(name)
            begin.append(by_id[name].parent)
    return reached


def needed_jobs(given: Rows) -> set[str]:
    unfinished = [j for j in given.jobs if not j.ended]
    names = {j.id for j in unfinished} | {j.options.since for j in unfinished}
    names |= {j.id for j in given.jobs if j.ended > ago(90)}
    for ensemble in ("e", "f"):
        mine = [j for j in given.jobs if j.ended and j.ensemble == ensemble]
        for of in (mine, [j for j in mine if j.state in ("succeeded", "finished with errors")]):
            names |= {max(of, key=lambda j: (j.ended, j.id)).id} if of else set()
    return names - {""}


@settings(max_examples=40)
@given(given=rows())
def test_what_is_needed_stays_the_rest_goes_and_a_second_time_finds_nothing(make_dataset: Make, given: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), make_dataset).add(*given.runs, *given.trainings, *given.versions, *given.jobs)
        before = home.keys()
        home.collect()
        runs, jobs = needed_runs(given), needed_jobs(given)
        assert {r.id for r in home.stores.runs.runs()} == runs
        assert {j.id for j in home.stores.jobs.jobs()} == jobs
        assert home.stores.runs.versions() == given.versions
        kept = {t.id for t in given.trainings if t.state == "running" or runs.intersection(t.runs.values())}
        assert {t.id for t in home.stores.runs.trainings()} == kept
        after = home.keys()
        by_id = {r.id: r for r in given.runs}
        trained = {r for t in given.trainings if t.state == "running" for r in t.runs.values()}
        for name in runs:
            mine = {key for key in before if key.startswith(f"runs/{name}/")}
            gone = {key.removeprefix(f"runs/{name}/").split("/")[0] for key in mine - after}
            row = by_id[name]
            old = row.state in ("failed", "cancelled") and row.created < ago(30) and name not in trained
            assert gone == ({"checkpoint"} if old or row.state == "complete" else set())
            assert layout.duplicate_table("d", row_split(row)) in after
        always = {key for key in before if key.startswith(("datasets/", "ensembles/")) and "/duplicates/" not in key}
        assert always | {layout.duplicate_table("d", "all")} <= after
        used = {row_split(by_id[name]) for name in runs}
        tables = {layout.duplicate_table("d", name) for name in used | {"all"}}
        assert {key for key in after if "/duplicates/" in key} == tables
        assert {key.split("/")[1] for key in after if key.startswith("runs/")} <= runs
        assert {key.split("/")[1] for key in after if key.startswith("jobs/")} == jobs
        assert home.find() == []


def row_split(row: Run) -> str:
    return Split(**row.definition["member"]["split"]).digest


def old_home(folder: Path, make_dataset: Make) -> Home:
    """Something of every kind to remove, and what it would be a pity to lose beside it."""
    home = Home(folder, make_dataset)
    home.add(run("parent"), run("child", parent="parent", split=1), training("t", "parent", "child"))
    home.add(run("kept", split=2), version("v0", "kept"), job("old"), job("new", ended=ago(80)))
    home.put("jobs/gone/scores/c.1.npz", "runs/gone/weights.safetensors", "datasets/gone/packs/00000.bson")
    home.put(layout.upload(layout.upload_request(ago(2), "abc"), 0), layout.ingest_pack("d", 0))
    return home


def interrupt_after(home: Home, deletions: int, patch: pytest.MonkeyPatch) -> bool:
    """Collect until the process dies at a deletion; False when it ends before."""
    delete, left = home.stores.objects.delete, iter(range(deletions))

    def die(key: str) -> None:
        if next(left, None) is None:
            raise StoreUnavailableError("killed")
        delete(key)

    with patch.context() as context:
        context.setattr(home.stores.objects, "delete", die)
        try:
            home.collect()
        except StoreUnavailableError:
            return True
    return False


def test_a_kill_at_any_deletion_leaves_what_the_next_one_finishes(
    tmp_path: Path, make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = old_home(tmp_path / "undisturbed", make_dataset)
    undisturbed.collect()
    assert undisturbed.find() == []
    died = 0
    while interrupt_after(home := old_home(tmp_path / str(died), make_dataset), died, monkeypatch):
        assert "kept" in {r.id for r in home.stores.runs.runs()}
        home.collect()
        assert home.keys() == undisturbed.keys()
        assert home.stores.runs.runs() == undisturbed.stores.runs.runs()
        assert [j.id for j in home.stores.jobs.jobs()] == ["new"]
        assert home.stores.runs.trainings() == []
        died += 1
    assert died > 10


def test_bytes_are_those_of_the_objects(home: Home) -> None:
    home.put("jobs/gone/scores/a.npz", "jobs/gone/scores/b.npz")
    (found,) = home.find()
    assert (found.kind, found.name, found.bytes) == ("objects", "jobs/gone/", 10)


def test_an_upload_goes_after_a_day_and_not_before(home: Home) -> None:
    for days in (0.0, 0.9, 1.1):
        home.put(layout.upload(layout.upload_request(ago(days), f"{days}"), 0))
    home.put(layout.upload("0f5d", 0))  # of a Shelver that did not write the time
    assert [name.split("-")[-1] for _, name in sorted(home.names())] == ["0f5d", "1.1"]


def test_an_ingest_under_way_keeps_everything_of_it(home: Home) -> None:
    home.stores.catalog.begin_ingest(INGEST)
    home.put(layout.pack("new", 0), layout.ingest_pack("new", 0))
    assert home.find() == []


def test_a_removal_that_died_after_the_objects_is_finished(home: Home) -> None:
    home.stores.catalog.begin_ingest(INGEST)
    home.stores.catalog.end_ingest("new", "complete")
    assert home.names() == {("dataset", "new")}
    home.collect()
    assert home.stores.catalog.ingest("new") is None


def test_a_dataset_that_lost_its_manifest_but_is_in_use_is_left_to_doctor(home: Home) -> None:
    home.add(version("v0", "keep0"))
    home.stores.objects.delete(layout.manifest("d"))
    assert home.find() == []


def test_packs_that_a_relabelled_dataset_refers_to_stay(home: Home) -> None:
    manifest = read_manifest(home.stores.objects, "d")
    packs = (replace(manifest.packs[0], dataset="elsewhere"),)
    home.stores.objects.put(layout.manifest("d"), json.dumps(replace(manifest, packs=packs).plain()).encode())
    home.put(layout.pack("elsewhere", 0))
    assert home.find() == []


def test_whole_things_without_a_row_are_named_and_left(home: Home, make_dataset: Make) -> None:
    make_dataset(home.stores.objects, "copied", products=3)
    home.put(layout.run_file("copied", "manifest.json"), layout.ensemble_version("e", "v9"), "elsewhere/file", "file")
    before = home.keys()
    found = home.find()
    assert {(g.kind, g.remove) for g in found} == {
        ("dataset", None),
        ("run", None),
        ("ensemble", None),
        ("unknown", None),
    }
    home.collect()
    assert home.keys() == before


def test_a_training_that_took_longer_than_retention_is_kept_from_its_end_on(home: Home) -> None:
    for state in ("complete", "failed"):
        home.add(run(f"just {state}", state=state, created=ago(100), ended=ago(1)))
        home.add(run(f"long {state}", state=state, created=ago(100), ended=ago(31)))
    home.collect()
    assert [r.id for r in home.stores.runs.runs() if "keep" not in r.id] == ["just complete", "just failed"]
    assert home.stores.objects.exists(layout.run_file("just failed", "checkpoint/latest.json"))


def test_weights_that_a_run_starts_from_are_not_strange(home: Home) -> None:
    member = asdict(replace(MEMBER, init=Init(kind="file", name="weights/mine/a.safetensors")))
    home.add(replace(run("begun", state="pending", created=ago(1)), definition={"member": member}))
    home.put(
        "weights/mine/a.safetensors", "weights/mine/b.safetensors", layout.duplicate_table("d", MEMBER.split.digest)
    )
    (found,) = home.find()
    assert (found.kind, found.name, found.bytes, found.remove) == ("unknown", "weights/mine", 5, None)


def test_scores_that_no_chunk_names_go(home: Home) -> None:
    home.add(job("j", ended=ago(1)))
    home.put(layout.chunk_scores("j", "c", 3))
    assert home.names() == {("scores", "j")}


def test_a_damaged_manifest_stops_it(home: Home) -> None:
    home.stores.objects.put(layout.manifest("d"), b"{")
    with pytest.raises(FailedError, match=r"which packs the dataset 'd' uses: datasets/d/manifest.json is damaged"):
        home.find()


def test_the_last_answers_stay_though_later_jobs_failed(home: Home) -> None:
    home.add(job("good", ended=ago(300)), job("bad", state="failed", ended=ago(200)), job("older", ended=ago(301)))
    home.collect()
    assert sorted(row.id for row in home.stores.jobs.jobs()) == ["bad", "good"]
