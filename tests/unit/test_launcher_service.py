import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from shared import layout, training_requests
from shared.domain import runs as rules
from shared.domain.errors import StoreUnavailableError
from shared.packs import Manifest
from tests.launcher_scene import House


@pytest.fixture
def house(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> House:
    return House(tmp_path, make_dataset)


def test_trainings_end_in_versions_one_run_at_a_time_over_all_of_them(house: House) -> None:
    one, two = house.ask(), house.ask("other", "lonely", move_current=False)
    steps = 0
    while "running" in (house.state(one), house.state(two)):
        house.service.step()
        running = house.processes.running("train-")
        assert len(running) <= 1
        for name in running:
            house.complete(name)
        steps += 1
        assert steps < 50
    assert len(house.processes.launches) == 4  # first and child are runs of both
    assert house.stores.runs.current("tiny") == house.stores.runs.training(one.id).version != ""
    assert house.stores.runs.current("other") == ""
    assert house.stores.runs.version("other", house.stores.runs.training(two.id).version).runs == two.runs
    house.service.step()
    assert house.processes.there == {}


def test_as_many_runs_at_once_as_the_settings_say(house: House) -> None:
    house.ask()
    house.restarted(concurrent_runs=2).step()
    assert len(house.processes.running("train-")) == 2


def test_a_preempted_run_goes_on_and_a_failed_one_fails_its_training_alone(house: House) -> None:
    one = house.ask()
    other = house.ask("other", "lonely")
    house.restarted(concurrent_runs=9).step()
    first = rules.process_name(house.run_of(one, "first"))
    house.processes.end(first, "preempted", 143, "ended from outside")
    house.processes.end(rules.process_name(house.run_of(one, "alone")), "failed", 1, "line\nwhy it failed")
    house.service.step()
    assert rules.process_name(house.run_of(one, "first")) in house.processes.running()
    assert first not in house.processes.there
    assert (house.state(one), house.state(other)) == ("failed", "running")
    failed = house.run_of(one, "alone")
    assert (failed.state, failed.reason, failed.ended) == ("failed", "exit code 1: why it failed", 5.0)
    assert house.stores.runs.training(one.id).reason == "alone: exit code 1: why it failed"
    assert house.stores.objects.read(layout.run_last_lines(failed.id, 1)) == b"line\nwhy it failed"
    assert house.stores.objects.read(layout.run_last_lines(one.runs["first"], 1)) == b"ended from outside"
    training_requests.retry(house.stores, one.id)
    house.service.step()
    assert rules.process_name(house.run_of(one, "alone")).endswith("-2")
    assert house.processes.running("train-") == sorted(
        rules.process_name(run) for run in house.stores.runs.runs() if run.state == "running"
    )


def test_what_a_trainer_calls_bad_input_is_said_of_run_and_training_until_it_is_tried_again(house: House) -> None:
    training = house.ask()
    house.service.step()
    (name,) = house.processes.running("train-")
    house.processes.end(name, "failed", 2, "line\nmember first: there is no module 'layer9'; name modules")
    house.service.step()
    why = "member first: there is no module 'layer9'; name modules"
    failed = next(run for run in house.stores.runs.runs() if rules.process_name(run) == name)
    assert (failed.state, failed.reason, failed.bad_input) == ("failed", why, True)
    row = house.stores.runs.training(training.id)
    assert (row.state, row.reason, row.bad_input) == ("failed", f"{failed.member}: {why}", True)
    training_requests.retry(house.stores, training.id)
    house.service.step()
    (name,) = house.processes.running("train-")
    assert not house.stores.runs.training(training.id).bad_input
    house.processes.end(name, "failed", 1, "out of luck")
    house.service.step()
    assert not house.stores.runs.training(training.id).bad_input


def test_a_cancelled_training_loses_its_processes_and_what_others_want_goes_on(house: House) -> None:
    one, other = house.ask(), house.ask("other", "lonely")
    house.restarted(concurrent_runs=9).step()
    training_requests.cancel(house.stores, one.id)
    house.service.step()
    assert house.processes.running("train-") == sorted(
        rules.process_name(house.run_of(other, member)) for member in ("first", "lonely")
    )
    assert house.state(other) == "running"


def test_what_runs_when_the_service_ends_is_taken_up_by_the_next_one(house: House) -> None:
    training = house.ask()
    house.service.step()
    launches = list(house.processes.launches)
    house.restarted().step()
    assert house.processes.launches == launches
    (name,) = house.processes.running()
    house.complete(name)
    house.service.step()
    assert house.run_of(training, "first").state == "complete"


def test_of_two_launchers_one_leads_and_the_other_goes_on_after_its_lease(house: House) -> None:
    house.service.step()
    other = house.replica(CollectorRegistry())
    house.ask()
    other.step()
    assert house.processes.launches == []
    house.time += house.settings.leases.lease_seconds
    other.step()
    launches = list(house.processes.launches)
    assert launches
    house.ask("second")
    house.service.step()
    assert house.processes.launches == launches


def test_a_training_that_cannot_go_on_ends_alone(house: House, make_dataset: Callable[..., Manifest]) -> None:
    training = house.ask()
    house.stores.objects.delete(layout.manifest("tiny"))
    house.service.step()
    row = house.stores.runs.training(training.id)
    assert row.state == "failed"
    assert "tiny" in row.reason
    make_dataset(house.stores.objects)
    training_requests.retry(house.stores, training.id)
    house.service.step()
    house.stores.runs.remove_run(training.runs["alone"])
    house.service.step()
    assert house.state(training) == "failed"


def test_an_ingest_gets_its_processes_and_keeps_them(house: House) -> None:
    house.ingest()
    house.ingest(dataset="by the command line", requested=False)
    house.service.step()
    order = ["services.ingest", "--dataset", "d", "--index", "{}", "--count", "2"]
    assert house.processes.launches == [
        (f"ingest-d-{index}", [word.format(index) for word in order]) for index in range(2)
    ]
    house.processes.end("ingest-d-0", "succeeded", 0)
    house.processes.end("ingest-d-1", "preempted", 143)
    house.service.step()
    assert house.processes.launches[2:] == [("ingest-d-1", house.processes.launches[1][1])]
    house.stores.catalog.end_ingest("d", "complete")
    house.service.step()
    assert list(house.processes.there) == ["ingest-d-1"]  # it is about to end by itself
    house.processes.end("ingest-d-1", "succeeded", 0)
    house.service.step()
    assert house.processes.there == {}


def test_an_ingest_whose_process_fails_is_failed_with_its_words(house: House) -> None:
    house.ingest()
    house.service.step()
    house.processes.end("ingest-d-1", "failed", 1, "traceback\nno such key")
    house.service.step()
    row = house.ingest_row()
    assert (row.state, row.error) == ("failed", "ingest-d-1: exit code 1: no such key")
    house.service.step()
    assert house.processes.there == {}
    house.stores.catalog.end_ingest("d", "running")
    house.service.step()
    house.stores.catalog.end_ingest("d", "failed", "told by itself")
    house.processes.end("ingest-d-0", "failed", 2, "told by itself")
    house.service.step()
    assert house.ingest_row().error == "told by itself"


def test_why_a_process_waits_and_how_it_ended_is_told_in_words(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    training = house.ask()
    house.ingest(1)
    house.service.step()
    (name,) = house.processes.running("train-")
    for waits in ("waiting: no node has a GPU", "waiting: no node has a GPU", ""):
        for one in (name, "ingest-d-0"):
            house.processes.end(one, "running", reason=waits)
        house.service.step()
        assert house.run_of(training, "first").reason == waits
    assert caplog.text.count(f"{name}: waiting: no node has a GPU") == 1
    house.processes.end(name, "preempted", 143, "preempted: a checkpoint is written", "ended from outside: drained")
    house.processes.end("ingest-d-0", "failed", 137, "reading", "exit code 137: out of memory")
    house.service.step()
    assert house.ingest_row().error == "ingest-d-0: exit code 137: out of memory"
    assert f"{name}: ended from outside: drained" in caplog.text
    again = rules.process_name(house.run_of(training, "first"))
    assert again in house.processes.running()
    house.processes.end(again, "failed", 137, "epoch 1", "exit code 137: out of memory")
    house.service.step()
    assert house.run_of(training, "first").reason == "exit code 137: out of memory"


def test_templates_that_cannot_be_used_fail_what_asked_for_them_alone(house: House) -> None:
    house.processes.refusal = "it is no Job"
    training = house.ask()
    house.ingest()
    house.service.step()
    house.service.step()
    assert house.ingest_row().error == "training.yaml: it is no Job"
    assert house.run_of(training, "first").reason == "training.yaml: it is no Job"
    assert house.run_of(training, "first").ended == 5.0
    assert house.stores.runs.training(training.id).reason == "first: training.yaml: it is no Job"
    house.processes.refusal = ""
    training_requests.retry(house.stores, training.id)
    house.service.step()
    assert house.processes.running("train-")


def test_an_ingest_whose_processes_are_always_ended_fails_in_the_end(house: House) -> None:
    house.ingest(1)
    for times in range(2 * rules.MAX_PREEMPTIONS - 1):
        house.service.step()
        house.processes.end("ingest-d-0", "preempted", -9)
        if times == rules.MAX_PREEMPTIONS - 1:
            house.stores.objects.put(layout.ingest_columns("d", 0), b"")  # a pack, which is progress
    house.service.step()
    assert house.ingest_row().state == "running"
    house.processes.end("ingest-d-0", "preempted", -9)
    house.service.step()
    assert "ended 9 times without another pack" in house.ingest_row().error


def test_processes_that_all_end_without_an_end_are_started_again(house: House) -> None:
    house.ingest()
    house.service.step()
    for index in range(2):
        house.processes.end(f"ingest-d-{index}", "succeeded", 0)
    house.service.step()
    assert house.processes.running() == ["ingest-d-0", "ingest-d-1"]


def test_processes_of_an_ingest_that_was_removed_end(house: House) -> None:
    house.ingest()
    house.service.step()
    house.stores.catalog.remove_dataset("d")
    house.service.step()
    assert house.processes.there == {}


def test_a_store_that_is_away_is_waited_for_and_said(house: House) -> None:
    house.processes.away = True
    training = house.ask()
    waits: list[float | None] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            house.processes.away = len(waits) < 6
            if house.processes.running():
                self.set()
            return True

    with pytest.raises(StoreUnavailableError):
        house.service.checks()["launcher"]()
    house.service.run(Stop())
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.0]
    assert house.run_of(training, "first").state == "running"
    for check in house.service.checks().values():
        check()
