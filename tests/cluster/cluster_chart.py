"""What the chart makes, judged by an API server: every object in a namespace that holds pods to `restricted`, and
custom resources by the definitions that KEDA and the Prometheus operator install."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.rendered import CASES, CHART, Manifest, jobs, manifests
from tests.cluster.namespace import Cluster

NAMESPACE = CHART.parents[1] / "k8s" / "namespace.yaml"
KEDA = ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml")
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
FOLDER = "example/prometheus-operator-crd"
DEFINITIONS = {
    "scaledobjects.keda.sh": KEDA,
    "podmonitors.monitoring.coreos.com": (OPERATOR, f"{FOLDER}/monitoring.coreos.com_podmonitors.yaml"),
    "prometheusrules.monitoring.coreos.com": (OPERATOR, f"{FOLDER}/monitoring.coreos.com_prometheusrules.yaml"),
}


@pytest.fixture(scope="module")
def restricted() -> Iterator[Cluster]:
    made = Cluster(f"shelver-test-{uuid.uuid4().hex[:8]}")
    labels = yaml.safe_load(NAMESPACE.read_text())["metadata"]["labels"]
    made.kubectl("create", "namespace", made.namespace)
    made.kubectl("label", "namespace", made.namespace, *(f"{name}={value}" for name, value in labels.items()))
    for account in ("shop-shelver", "shop-shelver-launcher"):  # pods are judged with their account
        made.apply("v1", "ServiceAccount", account)
    yield made
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="module")
def definitions(restricted: Cluster) -> Iterator[None]:
    """Those that the cluster lacks are there for the tests; its own stay."""
    there = {one["metadata"]["name"] for one in json.loads(restricted.kubectl("get", "crds", "-o", "json"))["items"]}
    missing = [name for name in DEFINITIONS if name not in there]
    for name in missing:
        module, path = DEFINITIONS[name]
        done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
        restricted.kubectl("create", "-f", str(Path(json.loads(done.stdout)["Dir"]) / path))
    if missing:
        restricted.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crds", *missing)
    yield
    if missing:
        restricted.kubectl("delete", "crds", *missing)


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("case", CASES)
def test_an_api_server_takes_everything_and_warns_of_nothing(case: str, restricted: Cluster) -> None:
    # a priority class is the whole cluster's, so that it may not be there
    found = manifests(*CASES[case], "gateway.priorityClassName=", namespace=restricted.namespace)
    assert judged(restricted, found + started(found)) == ""


def test_an_api_server_takes_what_stands_around_the_chart(restricted: Cluster) -> None:
    found = list(yaml.safe_load_all((NAMESPACE.parent / "priority-classes.yaml").read_text()))
    assert judged(restricted, found) == ""


def started(found: list[Manifest]) -> list[Manifest]:
    """The Jobs that the launcher would make."""
    return [{**job, "metadata": {**job["metadata"], "name": name[:-5]}} for name, job in jobs(found).items()]


def judged(cluster: Cluster, found: list[Manifest]) -> str:
    """Errors and warnings."""
    command = [
        "kubectl",
        "create",
        "--dry-run=server",
        "--validate=strict",
        f"--namespace={cluster.namespace}",
        "-f",
        "-",
    ]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    there = 'serviceaccounts "shop-shelver'  # made before, for the pods
    return "\n".join(line for line in done.stderr.splitlines() if there not in line)
