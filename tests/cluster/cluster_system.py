"""A whole installation from nothing, on external stores: each test goes on where the one before ended.

Commands are those of docs/operations.md, word for word; cluster_trouble.py goes on with it.
"""

from contextlib import suppress
from pathlib import Path

from shared import wiring
from shared.domain.records import SCHEMA
from shared.packs import read_manifest
from shared.settings import Settings
from tests.cluster.installation import COMPONENTS, CURRENT, Installation
from tests.cluster.stores import SAMPLE
from tests.guide import documented
from tests.monitoring.prometheus import Prometheus
from tests.monitoring.shipped import queries, rules

SMALL = """
name: small
splits: {A: {seed: 7, holdout: 0.1}}
defaults: {model: test_resnet, batch_size: 64, epochs: 3, optimizer: adamw, schedule: {kind: cosine, rate: 2.0e-3}}
members:
  first: {split: A, input: {size: 48}}
  second: {split: A, input: {size: 64}}
views: [plain, hflip]
combinations: {one: [first], all: [first, second]}
"""
COMPILES = """
import torch
toy, batch = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), torch.randn(4, 8)
expected = toy(batch)
toy.compile()
torch.testing.assert_close(toy(batch), expected)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
"""
QUIET = {
    "jobs: Lost chunks",
    "workers: GPU memory",
}
"""Panels that have nothing to show where all goes well on the CPU."""


def test_it_is_installed_from_nothing(shop: Installation) -> None:
    assert {component: shop.ready(component) for component in COMPONENTS} == COMPONENTS
    told = shop.run(documented("helm test shelver --namespace shelver --logs"))
    assert "ok   queue: it answers" in told
    assert "not asked for: there is no ensemble yet" in told
    assert "no ensemble" in shop.as_user(documented("shelver ensembles"))


def test_a_sample_is_ingested_by_jobs(shop: Installation, tmp_path: Path) -> None:
    for dataset in ("train", "test"):
        order = {
            "dataset": dataset,
            "source": f"s3://dumps/{dataset}.bson",
            "categories": "s3://dumps/category_names.csv",
            "processes": 2,
        }
        shop.ask(lambda client, order=order: client.post("ingests", body=order))
    names = {"ingest-train-0", "ingest-train-1", "ingest-test-0", "ingest-test-1"}
    shop.wait(lambda: names & shop.jobs(), "Jobs for the ingests")
    for dataset in ("train", "test"):
        shop.wait(lambda dataset=dataset: shop.get("ingests", dataset)["state"] != "running", f"{dataset} is ingested")
        assert shop.get("ingests", dataset)["error"] == ""
        here = tmp_path / "home"
        source = f"{SAMPLE}/{dataset}.bson --dataset {dataset} --categories {SAMPLE}/category_names.csv"
        shop.run(f"env --unset SHELVER_SERVER --unset SHELVER_KEY shelver --home {here} ingest {source}")
        fingerprint = read_manifest(wiring.objects(Settings(home=here)), dataset).fingerprint
        assert read_manifest(shop.stores.objects, dataset).fingerprint == fingerprint


def test_members_are_trained_by_jobs(shop: Installation) -> None:
    training = shop.train(SMALL)
    shop.wait(lambda: len([job for job in shop.jobs() if job.startswith("train-")]) == 2, "a Job per member")
    view = shop.trained(training)
    assert {run["state"] for run in view["runs"].values()} == {"complete"}
    shop.wait(lambda: not [job for job in shop.jobs() if job.startswith("train-")], "Jobs go once they are told of")
    assert f"{view['version']}" in shop.as_user(documented("shelver ensembles"))
    assert "a worker of pool default answered by small@" in shop.run(
        documented("helm test shelver --namespace shelver --logs")
    )


def test_two_workers_answer_as_one_machine_does(shop: Installation) -> None:
    job = shop.ended(shop.submit())
    assert len({chunk.worker for chunk in shop.stores.jobs.chunks(job, ("done",))}) == 2
    shop.answers = shop.export(job)
    assert len(shop.answers.splitlines()) == 291
    assert shop.score_here("small", "test") == shop.answers


def test_a_network_is_compiled_in_the_workers_image(shop: Installation) -> None:
    shop.cluster.kubectl("exec", "deployment/shelver-worker-default", "--", "python", "-c", COMPILES)


def test_an_upgrade_in_the_middle_of_a_job_loses_nothing(shop: Installation) -> None:
    job = shop.begun(shop.submit())
    assert shop.stores.jobs.job(job).schema in (SCHEMA - 1, SCHEMA)  # the same where a release has changed none
    upgrade = documented(
        "helm upgrade shelver charts/shelver --namespace shelver --values VALUES --wait --timeout 10m",
        VALUES=str(shop.values(CURRENT)),
    )
    shop.run(upgrade)
    images = {pod["spec"]["containers"][0]["image"] for component in COMPONENTS for pod in shop.pods(component)}
    assert images == set(shop.images(CURRENT).values())
    assert shop.export(job) == shop.answers
    assert shop.export(shop.submit()) == shop.answers


def test_an_upgrade_that_fails_is_rolled_back_under_a_job(shop: Installation) -> None:
    job = shop.begun(shop.submit())
    wrong = {name: f"{image}-that-is-not-there" for name, image in shop.images(CURRENT).items()}
    values = shop.values(CURRENT, images=wrong | {"pullPolicy": "Never"})
    shop.run(f"! helm upgrade shelver charts/shelver --namespace shelver --values {values} --wait --timeout 5s")
    shop.run(documented("helm rollback shelver --namespace shelver --wait --timeout 10m"))
    history = shop.run(documented("helm history shelver --namespace shelver"))
    assert "Rollback to" in history.splitlines()[-1]
    assert shop.export(job) == shop.answers


def test_every_panel_and_rule_is_evaluated_on_it(shop: Installation) -> None:
    training = shop.train(SMALL.replace("name: small", "name: watched").replace("epochs: 3", "epochs: 9"))
    with shop.scraped() as prometheus:
        job = shop.begun(shop.submit())
        empty = {place for place, _ in queries()} - QUIET

        def shown() -> bool:
            """Whether each has shown something by now; some do so only while chunks wait or a member is trained."""
            empty.difference_update(place for place, query in queries() if prometheus.query(query))
            return not empty

        with suppress(AssertionError):  # better told by the panels
            shop.wait(shown, "every panel shows something")
        assert empty == set()
        shop.export(job)
        prometheus.wait(lambda: all(one["value"][1] == "1" for one in prometheus.query("up")), "every pod answers")
        prometheus.wait(lambda: evaluated(prometheus) == set(rules()), "every rule is evaluated")
    shop.trained(training)


def evaluated(prometheus: Prometheus) -> set[str]:
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    return {rule["name"] for rule in found if rule["health"] == "ok"}
