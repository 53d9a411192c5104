"""What is wrong with the work itself, or called off: every job ends as it should, and others go on."""

import random
from pathlib import Path

from shared.job_requests import cancel
from tests.stub_worker import UNLOADABLE
from tests.system_scene import Answer, System, undisturbed


def test_a_product_that_kills_its_worker_every_time_is_quarantined(
    system: System, expected: list[Answer], seed: int
) -> None:
    poison = random.Random(seed).randrange(100, 220)
    job = system.submit(system.dataset(poison=frozenset({poison})), chunk_images=4)
    assert system.wait_for_end(job).state == "finished with errors"
    answers = system.answers(job)
    assert [answer for answer in answers if answer[0] != poison] == [one for one in expected if one[0] != poison]
    (error,) = (error for product, _, error, _ in answers if product == poison)
    assert error.startswith("quarantined: it took its worker down")


def test_a_model_that_never_loads_fails_its_job_alone(system: System, expected: list[Answer]) -> None:
    manifest = system.dataset()
    unloadable, job = system.submit(manifest, UNLOADABLE), system.submit(manifest)
    system.succeeds(job, expected)
    row = system.wait_for_end(unloadable)
    assert (row.state, row.error) == ("failed", "the weights are not there")
    assert system.answers(unloadable) == []
    assert all(chunk.losses == 0 for chunk in system.chunks(unloadable))


def test_a_job_is_cancelled_and_submitted_again(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    manifest = system.dataset()
    job = system.submit(manifest)
    system.wait_for_chunks(job, moments.randrange(8))
    cancel(system.stores.jobs, job)
    again = system.submit(manifest)
    assert system.wait_for_end(job).state == "cancelled"
    assert {chunk.state for chunk in system.chunks(job)} <= {"done", "cancelled"}
    assert set(map(repr, system.answers(job))) < set(map(repr, expected))
    system.succeeds(again, expected)


def test_a_product_with_an_error_of_its_own_has_it_once(system: System, tmp_path: Path) -> None:
    faulty = frozenset({117, 180})
    job = system.submit(system.dataset(faulty=faulty))
    assert system.wait_for_end(job).state == "finished with errors"
    assert system.answers(job) == undisturbed(tmp_path, faulty=faulty)
