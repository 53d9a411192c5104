"""Workers, dispatchers and gateway die, sleep and restart during a job, whose answers are the undisturbed ones."""

import random

import httpx2

from tests.system_scene import ADMIN_KEY, DISPATCHERS, STUB, WORKERS, Answer, System

CHUNKS = 15  # of the usual job


def test_workers_are_killed(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    job = system.submit(system.dataset())
    for least in sorted(moments.sample(range(CHUNKS - 1), 2)):
        system.wait_for_chunks(job, least)
        victim = system.processes[moments.choice(WORKERS)]
        victim.kill()
        victim.start()
    system.succeeds(job, expected)


def test_dispatchers_are_killed(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    job = system.submit(system.dataset())
    for least in sorted(moments.sample(range(CHUNKS - 1), 2)):
        system.wait_for_chunks(job, least)
        victims = [system.processes[name] for name in moments.sample(DISPATCHERS, moments.randint(1, 2))]
        for victim in victims:
            victim.kill()
        for victim in victims:
            victim.start()
    system.succeeds(job, expected)


def test_a_worker_sleeps_past_its_lease_and_wakes(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    job = system.submit(system.dataset())
    system.wait_for_chunks(job, 1 + moments.randrange(4))
    frozen = system.processes[moments.choice(WORKERS)]
    frozen.freeze()
    held = {chunk.id: chunk.generation for chunk in system.chunks(job, "running")}
    system.wait(lambda: taken_over(system, job, held), "its chunk is taken over")
    frozen.thaw()
    system.succeeds(job, expected)


def taken_over(system: System, job: str, held: dict[str, int]) -> bool:
    """Whether all that ran then has gone on since: the sleeper's by another worker."""
    rows = system.chunks(job)
    return all(row.generation > held[row.id] for row in rows if row.id in held)


def test_the_gateway_restarts(system: System, expected: list[Answer], seed: int) -> None:
    moments = random.Random(seed)
    dataset = system.dataset().dataset
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx2.Client(base_url=system.url, headers=headers, timeout=30) as client:
        body = {"dataset": dataset, "ensemble": STUB, "chunk_images": 12}
        made = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": dataset})
        assert made.status_code == 201, made.text
        job = made.json()["id"]
        system.wait_for_chunks(job, moments.randrange(8))
        gateway = system.processes["gateway"]
        moments.choice([gateway.stop, gateway.kill])()
        gateway.start()
        again = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": dataset})
        assert again.json()["id"] == job
        system.succeeds(job, expected)
        assert client.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"
