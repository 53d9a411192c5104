import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from services.launcher import prepare_split, train
from shared import duplicate_tables, ensemble_file, layout, removal, wiring
from shared.domain import splits
from shared.domain.ensemble import Ensemble, Split
from shared.domain.errors import BadInputError, FailedError, NotFoundError
from shared.domain.records import EnsembleVersion
from shared.packs import Manifest, read_index
from shared.ports import Launched, Objects, Stores
from shared.settings import LauncherSettings, Settings
from shared.training_progress import TrainingProgress

TINY = """
name: tiny
splits: {A: {seed: 7, holdout: 0.2}}
defaults: {input: {size: 32}, batch_size: 16, epochs: 4, model: test_resnet}
members:
  grandchild: {init: {member: child}}
  child: {init: {member: first}}
  first: {}
  alone: {}
combinations: {one: [alone], all: [grandchild, ..., alone]}
"""


class FakeLauncher:
    """Processes that live for two looks and then do what `script` says for their attempt: 0 is to complete the run."""

    def __init__(self, objects: Objects, script: Callable[[str, int], int] = lambda run, attempt: 0) -> None:
        self.objects = objects
        self.script = script
        self.launched: list[tuple[str, int]] = []
        self.running_at_once = 0
        self.processes: dict[str, tuple[str, int, int]] = {}
        self.ended: dict[str, Launched] = {}

    def check(self) -> None:
        pass

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        assert list(arguments[:2]) == ["workers.training", "--run"]
        run, attempt = arguments[2], int(arguments[4])
        assert name == f"train-{run}-{attempt}"
        assert json.loads(self.objects.read(layout.run_file(run, "definition.json")))["id"] == run
        if name not in self.processes:
            self.launched.append((run, attempt))
            self.processes[name] = (run, attempt, 0)

    def status(self) -> dict[str, Launched]:
        found = {}
        for name, (run, attempt, looks) in self.processes.items():
            self.processes[name] = (run, attempt, looks + 1)
            if looks >= 4 and name not in self.ended:
                self.ended[name] = self.end(name, run, attempt)
            found[name] = self.ended.get(name, Launched(name, "running"))
        self.running_at_once = max(self.running_at_once, sum(one.state == "running" for one in found.values()))
        return found

    def end(self, name: str, run: str, attempt: int) -> Launched:
        code = self.script(run, attempt)
        if code == 0:
            self.objects.put(layout.run_file(run, "manifest.json"), b"{}")
        state = {0: "succeeded", 143: "preempted"}.get(code, "failed")
        return Launched(name, state, code, "first line\nwhy it ended")

    def delete(self, name: str) -> None:
        self.processes.pop(name, None)
        self.ended.pop(name, None)


class Bench:
    def __init__(self, home: Path, make_dataset: Callable[..., Manifest]) -> None:
        self.settings = Settings(home=home)
        self.stores: Stores = wiring.stores(self.settings)
        self.manifest = make_dataset(self.stores.objects)
        self.launcher = FakeLauncher(self.stores.objects)
        self.reports: list[TrainingProgress] = []
        self.pauses: list[float] = []

    def train(self, ensemble: Ensemble, members: Sequence[str] | None = None) -> EnsembleVersion | None:
        return train(
            self.stores,
            self.launcher,
            self.settings,
            ensemble,
            "tiny",
            members,
            self.reports.append,
            clock=lambda: 5.0,
            sleep=self.pauses.append,
        )

    def run_of(self, member: str) -> str:
        return next(run.id for run in self.stores.runs.runs() if run.member == member)


@pytest.fixture
def shop(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Bench:
    return Bench(tmp_path, make_dataset)


@pytest.fixture
def ensemble() -> Ensemble:
    return ensemble_file.parse(TINY, "tiny.yaml", ensemble_file.architectures())


def test_an_api_server_is_asked_less_often_than_processes_of_this_machine(shop: Bench, ensemble: Ensemble) -> None:
    shop.settings = replace(shop.settings, launcher=LauncherSettings(templates="jobs", poll_seconds=7))
    assert shop.train(ensemble) is not None
    assert set(shop.pauses) == {7}


def test_all_members_are_trained_parents_first_and_one_at_a_time(shop: Bench, ensemble: Ensemble) -> None:
    version = shop.train(ensemble)
    assert version is not None
    order = [shop.stores.runs.run(run).member for run, _ in shop.launcher.launched]
    assert sorted(order) == sorted(ensemble.members)
    assert order.index("first") < order.index("child") < order.index("grandchild")
    assert shop.launcher.running_at_once == 1
    assert {attempt for _, attempt in shop.launcher.launched} == {1}
    assert {run.ended for run in shop.stores.runs.runs()} == {5.0}
    assert shop.reports[-1].done == shop.reports[-1].total == 16
    assert shop.launcher.processes == {}


def test_the_version_names_everything_and_becomes_current(shop: Bench, ensemble: Ensemble) -> None:
    version = shop.train(ensemble)
    assert version is not None
    assert list(version.runs) == list(ensemble.members)
    assert version.runs == {member: shop.run_of(member) for member in ensemble.members}
    assert version.duplicate_table == layout.duplicate_table("tiny", "all")
    assert shop.stores.runs.version("tiny") == shop.stores.runs.version("tiny", version.version)
    stored = yaml.safe_load(shop.stores.objects.read(layout.ensemble_version("tiny", version.version)))
    assert EnsembleVersion.from_plain(stored).runs == version.runs
    assert stored["document"]["combinations"]["all"] == list(ensemble.members)
    (training,) = shop.stores.runs.trainings()
    assert (training.state, training.version) == ("complete", version.version)


def test_a_second_training_skips_what_is_complete(shop: Bench, ensemble: Ensemble) -> None:
    first = shop.train(ensemble)
    launched = list(shop.launcher.launched)
    assert shop.train(ensemble) == first
    assert shop.launcher.launched == launched
    assert set(shop.reports[-1].skipped) == set(ensemble.members)


def test_some_members_train_with_their_parents_and_the_last_one_makes_the_version(
    shop: Bench, ensemble: Ensemble
) -> None:
    assert shop.train(ensemble, ["child"]) is None
    assert {shop.stores.runs.run(run).member for run, _ in shop.launcher.launched} == {"first", "child"}
    assert shop.stores.runs.versions() == []
    assert shop.train(ensemble, ["alone", "grandchild"]) is not None


def test_another_file_with_equal_members_reuses_their_runs(shop: Bench, ensemble: Ensemble) -> None:
    shop.train(ensemble)
    launched = list(shop.launcher.launched)
    other = shop.train(replace(ensemble, name="other", combinations={"all": ("alone",)}))
    assert other is not None
    assert shop.launcher.launched == launched
    assert shop.stores.runs.current("tiny") != other.version


def test_a_preempted_run_goes_on_in_a_new_attempt(shop: Bench, ensemble: Ensemble) -> None:
    shop.launcher.script = lambda _, attempt: 143 if attempt < 4 else 0
    assert shop.train(ensemble, ["first"]) is None
    assert [attempt for _, attempt in shop.launcher.launched] == [1, 2, 3, 4]


def test_a_run_that_is_always_ended_fails_in_the_end(shop: Bench, ensemble: Ensemble) -> None:
    shop.launcher.script = lambda _, attempt: 143
    with pytest.raises(FailedError, match="8 times in a row before its next checkpoint"):
        shop.train(ensemble, ["first"])


def test_a_failure_names_run_member_and_last_lines_and_is_tried_again_when_asked(
    shop: Bench, ensemble: Ensemble
) -> None:
    shop.launcher.script = lambda run, attempt: 1 if attempt == 1 and run == shop.run_of("child") else 0
    with pytest.raises(FailedError, match=r"member child \(run .*exit code 1: why it ended") as caught:
        shop.train(ensemble)
    assert "first line" in str(caught.value)
    assert {run.member: run.state for run in shop.stores.runs.runs()}["first"] == "complete"
    assert shop.stores.runs.trainings()[0].state == "failed"
    assert shop.train(ensemble) is not None


def test_what_the_trainer_calls_bad_input_is_bad_input(shop: Bench, ensemble: Ensemble) -> None:
    shop.launcher.script = lambda run, attempt: 2
    with pytest.raises(BadInputError, match="why it ended"):
        shop.train(ensemble, ["first"])


def test_a_trainer_ended_between_its_manifest_and_tidying_up_is_tidied_after(shop: Bench, ensemble: Ensemble) -> None:
    def killed_at_the_last_moment(run: str, attempt: int) -> int:
        for name in ("manifest.json", "checkpoint/latest.json", "checkpoint/1/5/state.json"):
            shop.stores.objects.put(layout.run_file(run, name), b"{}")
        return 143

    shop.launcher.script = killed_at_the_last_moment
    assert shop.train(ensemble) is not None
    assert not [key for key in shop.stores.objects.list("runs/") if "/checkpoint/" in key]
    assert shop.launcher.processes == {}


def test_ctrl_c_ends_the_process_and_the_next_training_goes_on(shop: Bench, ensemble: Ensemble) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.member == "first":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(shop.stores, shop.launcher, shop.settings, ensemble, "tiny", None, interrupt, sleep=lambda _: None)
    assert shop.launcher.processes == {}
    assert shop.stores.runs.run(shop.run_of("first")).state == "pending"
    assert shop.train(ensemble) is not None


def test_a_run_marked_as_running_but_never_started_is_started(shop: Bench, ensemble: Ensemble) -> None:
    def die(name: str, arguments: Sequence[str]) -> None:
        raise SystemExit(1)

    launch, shop.launcher.launch = shop.launcher.launch, die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        shop.train(ensemble)
    shop.launcher.launch = launch  # type: ignore[method-assign]
    assert shop.train(ensemble) is not None
    assert {attempt for _, attempt in shop.launcher.launched} == {1}


def test_what_cannot_be_trained_is_refused(shop: Bench, ensemble: Ensemble) -> None:
    with pytest.raises(BadInputError, match="there is no member 'alon'; did you mean 'alone'"):
        shop.train(ensemble, ["alon"])
    with pytest.raises(NotFoundError, match="ingest it first"):
        train(shop.stores, shop.launcher, shop.settings, ensemble, "none")
    bare = replace(shop.manifest, taxonomy="")
    shop.stores.objects.put(layout.manifest("tiny"), json.dumps(bare.plain()).encode())
    with pytest.raises(BadInputError, match="no categories to learn"):
        shop.train(ensemble)


def test_a_splits_table_counts_its_training_part_only(shop: Bench) -> None:
    split = Split(seed=7, holdout=0.3)
    found = prepare_split(shop.stores, "tiny", split)
    index = read_index(shop.stores.objects, "tiny", shop.manifest.packs[0])
    training = splits.assign(split, index.product_id, index.first_image, index.image_md5) == splits.TRAINING
    images = np.diff(index.first_image)
    assert (found["training_products"], found["training_images"]) == (training.sum(), images[training].sum())
    assert (found["holdout_products"], found["blend_products"]) == ((~training).sum(), 0)
    objects = shop.stores.objects
    whole = duplicate_tables.read(objects, layout.duplicate_table("tiny", "all"), 3)
    part = duplicate_tables.read(objects, layout.duplicate_table("tiny", split.digest), 3)
    assert whole.class_totals.sum() == shop.manifest.images
    assert part.class_totals.sum() == images[training].sum()


def test_a_failed_run_that_was_removed_starts_anew(shop: Bench, ensemble: Ensemble) -> None:
    shop.launcher.script = lambda run, attempt: 1
    with pytest.raises(FailedError):
        shop.train(ensemble, ["first"])
    removal.remove_run(shop.stores.objects, shop.stores.runs, shop.run_of("first"))
    shop.launcher.script = lambda run, attempt: 0
    shop.train(ensemble, ["first"])
    assert shop.stores.runs.run(shop.run_of("first")).state == "complete"


def test_a_table_of_other_content_under_the_same_name_is_counted_again(
    shop: Bench, make_dataset: Callable[..., Manifest]
) -> None:
    split = Split(seed=7, holdout=0.3)
    prepare_split(shop.stores, "tiny", split)
    manifest = make_dataset(shop.stores.objects, products=20)
    assert manifest.fingerprint != shop.manifest.fingerprint
    prepare_split(shop.stores, "tiny", split)
    table = duplicate_tables.read(shop.stores.objects, layout.duplicate_table("tiny", "all"), 3)
    assert table.class_totals.sum() == manifest.images
