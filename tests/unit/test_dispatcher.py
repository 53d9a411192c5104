from dataclasses import replace
from pathlib import Path

import pytest

from shared import layout
from shared.domain import states
from shared.domain.errors import FailedError
from shared.domain.records import JobOptions
from shared.job_progress import Progress, Speed, observe
from shared.job_requests import cancel
from shared.settings import DispatchSettings, Settings
from tests.job_scene import Scene
from tests.scoring_stub import manifest_json, new_job

NARROW = Settings(dispatch=DispatchSettings(window_chunks=6, message_chunks=3))


def test_a_job_is_planned_run_and_ended(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1, 2, 3, 4, 9] * 6, packs=2, faulty=frozenset({107}))
    assert scene.play().state == "finished with errors"
    assert scene.job.ended == 1.0
    assert set(scene.counts()) == {"done"}
    assert scene.answers() == {p: "no picture can be read" if p == 107 else "" for p in range(100, 130)}
    assert [o.position for o in scene.jobs.outcomes("job1")] == list(range(30))
    assert all(c.images <= 4 or c.products == 1 for c in scene.chunks())


def test_a_job_without_errors_succeeds(tmp_path: Path) -> None:
    assert Scene(tmp_path, [1] * 5).play().state == "succeeded"


def test_a_job_without_products_succeeds(tmp_path: Path) -> None:
    assert Scene(tmp_path, []).play().state == "succeeded"


def test_planning_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 40)
    assert scene.jobs.swap_job(scene.job, states.plan(scene.job))
    undisturbed = Scene(tmp_path / "other", [1] * 40)
    undisturbed.steps()
    scene.jobs.add_chunks(replace(c, state="pending", generation=0) for c in undisturbed.chunks()[3:7])
    assert scene.play().state == "succeeded"
    assert [c.id for c in scene.chunks()] == [c.id for c in undisturbed.chunks()]


@pytest.mark.parametrize(("damage", "words"), [("gone", "no dataset 'tiny'"), ("other", "not the one")])
def test_a_dataset_that_is_gone_or_another_fails_the_job(tmp_path: Path, damage: str, words: str) -> None:
    scene = Scene(tmp_path, [1] * 5)
    if damage == "gone":
        scene.objects.delete(layout.manifest("tiny"))
    else:
        scene.objects.put(layout.manifest("tiny"), manifest_json(replace(scene.manifest, fingerprint="0" * 16)))
    scene.steps()
    assert scene.job.state == "failed"
    assert words in scene.job.error


def test_a_bounded_number_of_chunks_is_on_the_way(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 400, settings=NARROW)
    scene.steps(5)
    assert scene.counts() == {"sent": 6, "pending": 94}
    assert [len(message["chunks"]) for message in scene.queue.messages] == [3, 3]
    (chunk, _) = scene.claim(count=2)
    scene.finish(chunk)
    scene.steps()
    assert scene.counts() == {"done": 1, "running": 1, "sent": 5, "pending": 93}


def test_the_window_is_two_messages_for_each_worker_that_runs_a_chunk(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [4] * 60, settings=NARROW)
    scene.steps(2)
    assert scene.counts()["sent"] == 6
    for worker in ("w1", "w1", "w2", "w3"):
        scene.claim(worker)
    scene.steps(2)
    assert scene.counts() == {"running": 4, "sent": 2 * 3 * 3 - 4, "pending": 42}


def test_a_message_names_consecutive_chunks(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [4] * 10)
    scene.steps()
    rows = scene.chunks()
    scene.set_chunk(rows[2], state="cancelled")
    scene.set_chunk(rows[4], solo=True)
    scene.set_chunk(rows[5], solo=True, losses=1)
    scene.set_chunk(rows[6], solo=True)
    scene.steps()
    order = {row.id: place for place, row in enumerate(rows)}
    sent = [[order[chunk] for chunk in message["chunks"]] for message in scene.queue.messages]
    assert sent == [[0, 1], [3], [7, 8, 9], [4], [6], [5]]
    assert all(message["schema"] == 1 and message["job"] == "job1" for message in scene.queue.messages)


def test_jobs_take_turns_and_pools_have_windows_of_their_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 400, settings=NARROW)
    scene.jobs.create(new_job(scene.manifest, id="job2"))
    scene.jobs.create(new_job(scene.manifest, id="job3", pool="other"))
    scene.steps(3)
    assert [message["job"] for message in scene.queue.messages] == ["job1", "job2", "job3", "job3"]
    for chunk in scene.jobs.chunks("job1", ("sent",)):
        assert scene.jobs.swap_chunk(chunk, running := states.claim(chunk, worker="w", ready=True))
        assert scene.finish(running)
    scene.steps(2)
    assert [message["job"] for message in scene.queue.messages[4:]] == ["job1"]
    for chunk in [c for job in ("job1", "job2") for c in scene.jobs.chunks(job, ("sent",))]:
        assert scene.jobs.swap_chunk(chunk, running := states.claim(chunk, worker="w", ready=True))
        assert scene.finish(running)
    scene.steps(2)
    assert [message["job"] for message in scene.queue.messages[5:]] == ["job2", "job1"]


def test_two_dispatchers_are_harmless(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 60, poison=frozenset({131}))
    first, second = scene.dispatcher, scene.new_dispatcher()

    class Both:
        def step(self) -> None:
            first.step()
            second.step()

    scene.dispatcher = Both()  # type: ignore[assignment]
    assert scene.play().state == "finished with errors"
    assert [product for product, error in scene.answers().items() if error] == [131]
    assert len(scene.answers()) == 60


def test_run_reports_and_returns_the_rows(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 40)
    worker, reports = scene.new_worker(), list[Progress]()

    def sleep(seconds: float) -> None:
        scene.clock.sleep(1.0)
        for message in scene.queue.messages[:1]:
            scene.queue.messages.remove(message)
            worker.handle(message)

    rows = scene.dispatcher.run(["job1"], reports.append, sleep=sleep)
    assert [row.state for row in rows] == ["succeeded"]
    assert (reports[0].done, reports[0].products, reports[0].rate, reports[0].seconds_left) == (0, 40, 0.0, None)
    assert (reports[-1].done, reports[-1].failed, reports[-1].state) == (40, 0, "succeeded")
    assert reports[-1].chunks == {"done": 10}
    assert reports[-1].seconds_left == 0
    assert reports[-1].rate > 0


def test_run_leaves_other_jobs_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8)
    other = scene.jobs.create(new_job(scene.manifest, id="job2"))
    worker = scene.new_worker()

    def sleep(seconds: float) -> None:
        scene.clock.sleep(1.0)
        while scene.queue.messages:
            worker.handle(scene.queue.messages.pop(0))

    assert [row.state for row in scene.dispatcher.run(["job1"], sleep=sleep)] == ["succeeded"]
    assert scene.jobs.job("job2") == other


def test_run_waits_for_a_store_that_is_away_and_says_so(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 40)
    worker, reports, began = scene.new_worker(), list[Progress](), scene.clock()

    def sleep(seconds: float) -> None:
        scene.clock.sleep(seconds)
        scene.jobs.away = 1 < scene.clock() - began < 61
        while scene.queue.messages and scene.clock() - began > 61:
            worker.handle(scene.queue.messages.pop(0))

    (job,) = scene.dispatcher.run(["job1"], reports.append, sleep=sleep)
    assert job.state == "succeeded"
    away = [report for report in reports if report.message]
    assert {report.message for report in away} == {"the store is away"}
    assert 5 < len(away) < 20
    assert all((chunk.losses, chunk.solo) == (0, False) for chunk in scene.chunks())


def test_progress_says_what_happened_to_the_job(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8)
    scene.steps()
    shaped = states.resolve_precision(scene.job, precision="bf16", batch_images=64)
    assert scene.jobs.swap_job(scene.job, shaped)
    assert scene.jobs.swap_job(shaped, states.halve(shaped, batch_images=32))
    progress = observe(scene.jobs, scene.job, Speed(), scene.clock())
    assert (progress.halvings, progress.message) == (1, "out of memory: batch shape halved to 32")
    scene.set_chunk(scene.chunks()[0], error="this worker cannot run bf16")
    assert observe(scene.jobs, scene.job, Speed(), scene.clock()).message == "this worker cannot run bf16"


def test_progress_goes_on_within_a_chunk_and_back_where_its_worker_is_lost(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8)
    scene.steps(2)
    first, second = scene.claim(count=2)
    speed = Speed()

    def look() -> Progress:
        scene.clock.sleep(1)
        return observe(scene.jobs, scene.job, speed, scene.clock())

    assert (look().through, look().rate) == (0, 0)
    assert scene.jobs.beat(first.id, first.generation, ready=True, through=3)
    told = look()
    assert (told.done, told.through, told.rate, told.seconds_left) == (0, 3, 1.5, 5 / 1.5)
    assert scene.jobs.beat(second.id, second.generation, ready=True, through=2)
    assert scene.finish(first)
    assert (look().done, look().through) == (4, 2)
    assert scene.jobs.swap_chunk(second, states.lose_solo(second, done=1, error="expired"))
    told = look()
    assert (told.done, told.through, told.rate >= 0) == (4, 0, True)


def test_a_worker_that_cannot_start_ends_the_run_but_not_the_job(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8)

    def send(message: object) -> None:
        raise FailedError("the scoring worker does not start: no module named torch")

    scene.queue.send = send  # type: ignore[assignment]
    with pytest.raises(FailedError, match="no module named torch"):
        scene.dispatcher.run(["job1"], sleep=scene.clock.sleep)
    assert scene.job.state == "running"


def test_a_queued_job_is_cancelled_without_a_chunk(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8)
    assert cancel(scene.jobs, "job1").state == "cancelling"
    scene.steps()
    assert (scene.job.state, scene.counts()) == ("cancelled", {})


def test_cancelling_waits_for_what_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 40)
    scene.steps(2)
    done, running, _ = scene.claim(count=3)
    assert scene.finish(done)
    cancel(scene.jobs, "job1")
    assert cancel(scene.jobs, "job1").state == "cancelling"
    scene.steps(20)
    assert (scene.job.state, scene.counts()) == ("cancelling", {"done": 1, "running": 2, "cancelled": 7})
    assert scene.finish(running)
    for _ in range(3):
        scene.steps(seconds=scene.settings.leases.lease_seconds / 2)
    assert (scene.job.state, scene.counts()) == ("cancelled", {"done": 2, "cancelled": 8})


def test_options_are_those_of_creation(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 8, chunk_images=2)
    assert scene.play().options == JobOptions(image_duplicates="none", product_duplicates="none", chunk_images=2)
    assert scene.counts() == {"done": 4}
