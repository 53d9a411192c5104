"""What befalls an installation that works: nodes drained, pods deleted, workers scaled, keys changed, and its removal.

Goes on with the installation of cluster_system.py, its dataset and its ensemble.
"""

import json
from pathlib import Path

from shared import layout
from shared.domain.errors import NotFoundError
from tests.cluster.cluster_system import SMALL
from tests.cluster.installation import COMPONENTS, CURRENT, Installation
from tests.guide import documented
from tests.servers.server import ACCESS_KEY, SECRET_KEY


def long(name: str, seed: int) -> str:
    """An ensemble of one member, whose training lasts some minutes; of another seed, since equal members train once."""
    longer = SMALL.replace("name: small", f"name: {name}").replace("epochs: 3", "epochs: 24")
    member = f"second: {{split: A, input: {{size: 64}}, seed: {seed}}}"
    return longer[: longer.index("members:")] + f"members:\n  {member}\ncombinations: {{all: [second]}}\n"


def in_the_middle(shop: Installation, training: str) -> str:
    """The run of a training's only member, once it has a checkpoint to go on from."""
    run = str(shop.get("trainings", training)["runs"]["second"]["run"])
    shop.wait(lambda: step_of(shop, run) > 0, "a checkpoint is written")
    return run


def step_of(shop: Installation, run: str) -> int:
    """Of its latest checkpoint; 0 without one."""
    try:
        latest = json.loads(shop.stores.objects.read(layout.run_file(run, "checkpoint/latest.json")))
    except NotFoundError:
        return 0
    return int(latest["checkpoints"][0][1])


def goes_on(shop: Installation, pods: set[str]) -> None:
    """Another pod than `pods` takes the training up at a checkpoint."""
    shop.wait(lambda: names(shop, "training") - pods, "another pod for the training")
    (pod,) = names(shop, "training") - pods
    shop.wait(lambda: "going on from step" in logged(shop, pod), "it goes on from a checkpoint")


def logged(shop: Installation, pod: str) -> str:
    """What a pod has said; nothing before its container runs."""
    try:
        return shop.cluster.kubectl("logs", pod)
    except AssertionError:
        return ""


def counted_once(shop: Installation, training: str, run: str) -> None:
    """The training ends, and nothing of it counts as a failure."""
    shop.trained(training)
    row = shop.stores.runs.run(run)
    assert (row.state, row.attempt) == ("complete", 1)


def names(shop: Installation, component: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in shop.pods(component)}


def settled(shop: Installation) -> None:
    for component, count in COMPONENTS.items():
        shop.wait(lambda component=component, count=count: shop.ready(component) == count, f"{component} is ready")


def test_a_node_is_drained_in_the_middle_of_a_job_and_of_a_training(shop: Installation) -> None:
    shop.scale("shelver-gateway", 1)  # of two, the disruption budget keeps one until another is ready: not on one node
    shop.wait(lambda: len(shop.pods("gateway")) == 1, "one gateway")
    training = shop.train(long("drained", 1))
    run = in_the_middle(shop, training)
    job = shop.begun(shop.submit())
    (pod,) = shop.pods("training")
    node, before = pod["spec"]["nodeName"], names(shop, "training")
    try:
        ours = f"{node} --pod-selector=app.kubernetes.io/instance=shelver"
        shop.run(documented("kubectl drain NODE --ignore-daemonsets --delete-emptydir-data", NODE=ours))
        assert shop.stores.jobs.job(job).state == "running"
        assert shop.stores.runs.run(run).state in ("running", "pending")
    finally:
        shop.run(documented("kubectl uncordon NODE", NODE=node))
        shop.scale("shelver-gateway", 2)
    goes_on(shop, before)
    settled(shop)
    counted_once(shop, training, run)
    assert shop.export(job) == shop.answers


def test_pods_of_each_component_are_deleted_in_the_middle_of_a_job_and_of_a_training(shop: Installation) -> None:
    training = shop.train(long("deleted", 2))
    run = in_the_middle(shop, training)
    job = shop.begun(shop.submit())
    before = names(shop, "training")
    for component in ("training", "worker-default", "launcher", "dispatcher", "gateway"):
        shop.cluster.kubectl("delete", "pods", "--wait=false", *names(shop, component))
    goes_on(shop, before)
    settled(shop)
    counted_once(shop, training, run)
    assert shop.export(job) == shop.answers


def test_workers_are_scaled_from_none_to_two_and_back(shop: Installation) -> None:
    none = documented("kubectl --namespace shelver scale deployment shelver-worker-default --replicas=0")
    two = documented("kubectl --namespace shelver scale deployment shelver-worker-default --replicas=2")
    shop.run(none)
    shop.wait(lambda: not shop.pods("worker-default"), "no worker")
    job = shop.submit()
    shop.wait(lambda: shop.get("jobs", job)["chunks"].get("sent", 0), "chunks wait for a worker")
    assert shop.get("jobs", job)["done"] == 0
    shop.run(two)
    assert shop.export(job) == shop.answers
    shop.run(none)
    shop.wait(lambda: not shop.pods("worker-default"), "no worker")
    shop.run(two)
    settled(shop)


def test_another_version_becomes_the_current_one_and_the_first_again(shop: Installation) -> None:
    first = shop.stores.runs.version("small").version
    second = shop.trained(shop.train(SMALL.replace("views: [plain, hflip]", "views: [plain]")))["version"]
    assert shop.get("ensembles", "small")["version"] == second
    put = documented(
        'curl --fail --request PUT --header "Authorization: Bearer $SHELVER_KEY" --json \'{"version": "VERSION"}\' '
        "$SHELVER_SERVER/v1/ensembles/NAME/current",
        VERSION=first,
        NAME="small",
    )
    shop.as_user(put)
    assert shop.get("ensembles", "small")["version"] == first
    assert shop.export(shop.submit()) == shop.answers


def test_keys_are_made_revoked_and_replaced(shop: Installation) -> None:
    shop.as_user(documented("shelver keys add nightly --tenant shop --scope submit"))
    known = json.loads(shop.as_user(documented("shelver keys") + " --json"))
    (made,) = (one["id"] for one in known if one["name"] == "nightly")
    shop.as_user(documented("shelver keys revoke ID", ID=made))
    before = shop.environment["SHELVER_KEY"]
    anew = documented(
        "kubectl --namespace shelver create secret generic first-key "
        '--from-literal=admin-key="$(openssl rand -hex 24)" --dry-run=client --output yaml | kubectl apply -f -'
    )
    shop.run(anew)
    shop.run(documented("kubectl --namespace shelver rollout restart deployment"))
    shop.run(documented("kubectl --namespace shelver rollout status deployment shelver-gateway --timeout 10m"))
    settled(shop)
    shop.know_key()
    assert shop.environment["SHELVER_KEY"] != before
    assert len(shop.get("keys")["keys"]) >= 3


def test_what_an_alert_makes_one_look_at(shop: Installation) -> None:
    job = shop.ended(shop.submit())
    assert "shelver-dispatcher" in shop.run(documented("kubectl --namespace shelver get pods"))
    shop.run(documented("kubectl --namespace shelver get events --sort-by .lastTimestamp"))
    component = "app.kubernetes.io/component=worker-default"
    assert component in shop.run(
        documented("kubectl --namespace shelver describe pods --selector app.kubernetes.io/component=worker-default")
    )
    told = shop.run(documented("kubectl --namespace shelver logs deployment/shelver-launcher --tail 50"))
    assert "launcher" in told
    assert job in shop.as_user(documented("shelver jobs"))
    assert "succeeded" in shop.as_user(documented("shelver jobs JOB", JOB=job))
    assert "second" in shop.as_user(documented("shelver runs"))
    shop.as_user(
        documented(
            'curl --fail --header "Authorization: Bearer $SHELVER_KEY" $SHELVER_SERVER/v1/jobs/JOB/predictions/errors',
            JOB=job,
        )
    )
    assert "ok" in shop.as_user(documented("curl --fail $SHELVER_SERVER/readyz"))
    shop.run(documented("kubectl --namespace shelver exec deployment/shelver-dispatcher -- shelver gc"))
    shop.run(documented("kubectl --namespace shelver exec deployment/shelver-dispatcher -- shelver gc --apply"))


def test_a_bucket_is_copied_lost_and_restored(shop: Installation, tmp_path: Path) -> None:
    words = {"BUCKET": "shelver", "ENDPOINT": shop.settings.s3.endpoint, "ID": ACCESS_KEY, "SECRET": SECRET_KEY}
    copy = str(tmp_path / "copy")
    shop.run(
        documented(
            "rclone sync :s3:BUCKET COPY --s3-provider Other --s3-endpoint ENDPOINT --s3-access-key-id ID "
            "--s3-secret-access-key SECRET",
            **words,
            COPY=copy,
        )
    )
    shop.run(documented("kubectl --namespace shelver scale deployment --all --replicas=0"))
    for key in list(shop.stores.objects.list("runs/")):
        shop.stores.objects.delete(key)
    shop.run(
        documented(
            "rclone sync COPY :s3:BUCKET --s3-provider Other --s3-endpoint ENDPOINT --s3-access-key-id ID "
            "--s3-secret-access-key SECRET",
            **words,
            COPY=copy,
        )
    )
    shop.run(
        documented(
            "helm upgrade shelver charts/shelver --namespace shelver --values VALUES --wait --timeout 10m",
            VALUES=str(shop.values(CURRENT)),
        )
    )
    shop.run(documented("kubectl --namespace shelver scale deployment shelver-gateway --replicas=2"))
    shop.run(documented("kubectl --namespace shelver exec deployment/shelver-worker-default -- shelver doctor"))
    assert shop.export(shop.submit()) == shop.answers


def test_what_is_removed_leaves_nothing_but_what_it_names(shop: Installation) -> None:
    shop.train(long("orphaned", 3))
    shop.wait(lambda: shop.pods("training"), "a training runs")
    shop.run(documented("helm uninstall shelver --namespace shelver --wait"))
    assert {kind for kind, _ in left(shop)} <= {"job", "pod"}
    shop.run(
        documented(
            "kubectl --namespace shelver delete jobs --selector "
            "app.kubernetes.io/managed-by=shelver-launcher,app.kubernetes.io/instance=shelver"
        )
    )
    shop.run(
        documented(
            "kubectl --namespace shelver delete pods --selector "
            "app.kubernetes.io/component=test,app.kubernetes.io/instance=shelver"
        )
    )
    shop.wait(lambda: not left(shop), "nothing is left")
    kept = shop.cluster.kubectl("get", "secrets", "--output", "jsonpath={.items[*].metadata.name}")
    assert set(kept.split()) == {"stores", "bucket", "first-key"}


def left(shop: Installation) -> set[tuple[str, str]]:
    """(kind, name) of every object of the installation."""
    kinds = shop.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    listed = [kind for kind in kinds if not kind.startswith("events")]
    found = shop.cluster.kubectl(
        "get", ",".join(listed), "-l", "app.kubernetes.io/instance=shelver", "--output", "name", "--ignore-not-found"
    )
    return {(line.split("/")[0].split(".")[0], line.split("/")[1]) for line in found.split()}
