"""`score --since`: what has not changed is copied by the worker, the engine gets the rest, and nothing else differs."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import states
from shared.domain.records import Chunk, Outcome
from shared.job_requests import cancel
from tests.job_scene import Scene, message
from tests.scoring_stub import StubEngine, put_dataset

COUNTS = [1, 2, 3, 1] * 10


def never() -> StubEngine:
    raise AssertionError("the engine is not needed")


def later(scene: Scene, counts: Sequence[int] = COUNTS, *, since: str = "job1", **data: Any) -> None:
    """Turn to `job2`, over another dataset, which copies from `since`."""
    chunk_images = data.pop("chunk_images", 4)
    manifest = put_dataset(scene.objects, counts, name="later", fingerprint="e" * 16, **data)
    scene.turn_to(manifest, "job2", since=since, chunk_images=chunk_images)


def outcomes(scene: Scene, job: str) -> list[Outcome]:
    found: list[Outcome] = scene.jobs.outcomes(job, limit=1000)
    return found


def copied(scene: Scene) -> set[int]:
    return {outcome.product for outcome in outcomes(scene, scene.current) if outcome.since}


def undisturbed(scene: Scene) -> list[Outcome]:
    """The outcomes of a full scoring of the current job's dataset, as if they were its own."""
    row, name = scene.job, scene.current
    full = replace(row, id="full", state="queued", generation=0, options=replace(row.options, since=""))
    scene.jobs.create(full)
    scene.current = "full"
    scene.play()
    scene.current = name
    return [replace(outcome, job=name) for outcome in outcomes(scene, "full")]


def bare(found: list[Outcome]) -> list[Outcome]:
    return [replace(outcome, since="", chunk="") for outcome in found]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """`job1` has ended."""
    scene = Scene(tmp_path, COUNTS)
    assert scene.play().state == "succeeded"
    return scene


def test_only_what_has_changed_or_is_new_reaches_the_engine(scene: Scene) -> None:
    changed = frozenset({103, 104, 139})
    later(scene, [*COUNTS, 2, 1], changed=changed, packs=3)
    engine = StubEngine()
    assert scene.play(lambda: engine).state == "succeeded"
    assert sorted(engine.scored) == [*sorted(changed), 140, 141]
    assert copied(scene) == set(range(100, 140)) - changed
    assert {outcome.since for outcome in outcomes(scene, "job2")} == {"", "job1"}
    assert bare(outcomes(scene, "job2")) == bare(undisturbed(scene))
    sums = [(chunk.copied, chunk.done, chunk.scored_images) for chunk in scene.chunks()]
    assert [sum(column) for column in zip(*sums, strict=True)] == [37, 42, 1 + 1 + 1 + 2 + 1]


def test_products_that_moved_are_copied_to_their_new_positions(scene: Scene) -> None:
    later(scene, COUNTS[7:], first_id=107, chunk_images=7)
    assert scene.play(never).state == "succeeded"
    stored = outcomes(scene, "job2")
    assert [(outcome.product, outcome.position) for outcome in stored] == [(107 + n, n) for n in range(33)]
    chunks = {chunk.id: chunk for chunk in scene.chunks()}
    assert all(0 <= o.position - chunks[o.chunk].position < chunks[o.chunk].products for o in stored)


def test_where_nothing_has_changed_no_engine_is_loaded_and_no_picture_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = scene.objects.read
    monkeypatch.setattr(
        scene.objects, "read", lambda key, *more: (reads.append(key), read(key, *more))[1], raising=False
    )
    later(scene)
    assert scene.play(never).state == "succeeded"
    assert len(copied(scene)) == 40
    assert reads
    assert [key for key in reads if key.endswith(".bson")] == []
    assert all((c.scored_images, c.batch_images, set(c.seconds)) == (0, 0, {"copy", "write"}) for c in scene.chunks())


def test_a_chunk_that_is_copied_whole_passes_between_two_for_the_engine(scene: Scene) -> None:
    later(scene, changed=frozenset({100, 131}))
    scene.steps(2)
    engine, sent = StubEngine(), scene.chunks("sent")
    scene.new_worker(lambda: engine).handle(message(*sent))
    assert [chunk.copied for chunk in scene.chunks("done")] == [1, *[2] * 14, 1]
    assert engine.scored == [100, 131]


def test_errors_are_scored_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, COUNTS, faulty=frozenset({110, 111}))
    assert scene.play().state == "finished with errors"
    scene.turn_to(scene.manifest, "job2", since="job1")
    engine = StubEngine()
    assert scene.play(lambda: engine).state == "finished with errors"
    assert engine.scored == [110, 111]
    assert {o.product: (o.since, o.error) for o in outcomes(scene, "job2") if o.error} == {
        110: ("", "no picture can be read"),
        111: ("", "no picture can be read"),
    }


def test_outcomes_from_before_there_were_digests_are_not_copied(scene: Scene) -> None:
    scene.jobs.create(replace(scene.job, id="job0"))
    scene.jobs.add_outcomes(replace(outcome, job="job0", images="") for outcome in outcomes(scene, "job1"))
    later(scene, since="job0")
    engine = StubEngine()
    assert scene.play(lambda: engine).state == "succeeded"
    assert (copied(scene), len(engine.scored)) == (set(), 40)


def test_copies_are_copied_on(scene: Scene) -> None:
    later(scene, changed=frozenset({120}))
    assert scene.play().state == "succeeded"
    scene.turn_to(scene.manifest, "job3", since="job2")
    engine = StubEngine()
    assert scene.play(lambda: engine).state == "succeeded"
    assert engine.scored == [120]
    assert {outcome.since for outcome in outcomes(scene, "job3") if outcome.product != 120} == {"job2"}


def test_a_product_that_takes_workers_down_is_found_among_copied_ones(scene: Scene) -> None:
    counts = [1] * 12 + COUNTS[12:]
    later(scene, counts, poison=frozenset({117}), changed=frozenset({118, 119}), chunk_images=1000)
    assert scene.play().state == "finished with errors"
    stored = outcomes(scene, "job2")
    assert [outcome.product for outcome in stored] == list(range(100, 140))
    assert [outcome.product for outcome in stored if outcome.error] == [117]
    assert "quarantined" in stored[17].error
    same = {100 + n for n in range(40) if n not in (17, 18, 19) and counts[n] == COUNTS[n]}
    assert copied(scene) == same
    sums = scene.jobs.count_chunks("job2")
    assert sum(of_state["copied"] for of_state in sums.values()) == len(same)


def test_a_job_removed_meanwhile_fails_the_one_that_copies_from_it(scene: Scene) -> None:
    later(scene)
    scene.steps()
    scene.jobs.remove_job("job1")
    job = scene.play(never)
    assert (job.state, outcomes(scene, "job2")) == ("failed", [])
    assert job.error == "job job1, whose outcomes were to be copied, is gone; score again without --since"


def test_a_cancelled_job_copies_nothing_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    later(scene)
    asked = scene.jobs.outcomes_of

    def cancel_meanwhile(job: str, products: Sequence[int]) -> list[Outcome]:
        cancel(scene.jobs, "job2")
        found: list[Outcome] = asked(job, products)
        return found

    monkeypatch.setattr(scene.jobs, "outcomes_of", cancel_meanwhile, raising=False)
    assert scene.play(never).state == "cancelled"
    assert outcomes(scene, "job2") == []


def test_a_worker_that_loses_its_chunk_before_it_ends_leaves_one_outcome_each(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(scene)
    swap, lost = scene.jobs.swap_chunk, list[str]()

    def lose_each_once(old: Chunk, new: Chunk) -> bool:
        if new.state == "done" and old.id not in lost:
            lost.append(old.id)
            assert swap(old, states.lose_uncounted(old, error="expired"))
        stored: bool = swap(old, new)
        return stored

    monkeypatch.setattr(scene.jobs, "swap_chunk", lose_each_once, raising=False)
    assert scene.play(never).state == "succeeded"
    assert len(lost) == len(scene.chunks())
    assert bare(outcomes(scene, "job2")) == bare(undisturbed(scene))


def test_a_store_that_is_away_while_copying_costs_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    later(scene)
    scene.steps(2)
    worker = scene.new_worker(never)

    def go_away(rows: list[Outcome]) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(worker._stopped, "wait", come_back)
        scene.jobs.away = True
        scene.jobs.add_outcomes(rows)

    def come_back(_: float) -> bool:
        scene.jobs.away = False
        return False

    monkeypatch.setattr(scene.jobs, "add_outcomes", go_away, raising=False)
    worker.handle(message(scene.chunks("sent")[0]))
    assert [(c.copied, c.losses) for c in scene.chunks("done")] == [(2, 0)]
    assert copied(scene) == {100, 101}


@given(
    chunk_images=st.integers(1, 20),
    changed=st.frozensets(st.integers(100, 140)),
    faulty=st.frozensets(st.integers(100, 140), max_size=5),
    first=st.integers(0, 5),
    more=st.integers(0, 5),
)
@settings(max_examples=15)
def test_the_outcomes_are_those_of_a_full_scoring(
    chunk_images: int, changed: frozenset[int], faulty: frozenset[int], first: int, more: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), [1, 2] * 10)
        scene.play()
        counts = ([1, 2] * 13)[first : 20 + more]
        data = {"changed": changed, "faulty": faulty, "first_id": 100 + first, "packs": 2}
        later(scene, counts, chunk_images=chunk_images, **data)
        engine = StubEngine()
        scene.play(lambda: engine)
        same = set(range(100 + first, 120)) - changed - faulty
        assert copied(scene) == same
        assert sorted([*engine.scored, *same]) == list(range(100 + first, 120 + more))
        assert bare(outcomes(scene, "job2")) == bare(undisturbed(scene))
