"""Tests on a real cluster: `make test-cluster`, on the one that KUBECONFIG names, in a namespace made for them.

No file is called test_*.py, so that `make test` does not ask for one. TEST_CLUSTER_IMAGE names an image with `python3`
that the nodes have or can pull; the default is one of Docker Hub's.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.adapters.kubernetes_jobs import KubernetesLauncher

HERE = Path(__file__).parent
IMAGE = "docker.io/library/python:3.13-slim"
PROGRAM = "import sys; exec(sys.argv[2])"
ROLE = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]
"""All that the launcher may do, in its namespace alone."""

Json = dict[str, Any]
Change = Callable[[Json], None]


class Cluster:
    """A namespace, asked as its administrator."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, given: object = None) -> str:
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, api: str, kind: str, name: str, **rest: object) -> None:
        self.kubectl("apply", "-f", "-", given={"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest})

    def pods(self, job: str) -> list[Json]:
        selector = f"batch.kubernetes.io/job-name={job}"
        found: list[Json] = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return found

    def account(self, name: str, rules: list[Json], folder: Path) -> Path:
        """A kubeconfig of a service account that may do what the rules say."""
        rbac = "rbac.authorization.k8s.io"
        self.apply("v1", "ServiceAccount", name)
        self.apply(f"{rbac}/v1", "Role", name, rules=rules)
        self.apply(
            f"{rbac}/v1",
            "RoleBinding",
            name,
            roleRef={"apiGroup": rbac, "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        )
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"] = [{"name": name, "user": {"token": self.kubectl("create", "token", name).strip()}}]
        config["contexts"][0]["context"]["user"] = name
        (folder / name).write_text(yaml.safe_dump(config))
        return folder / name

    def evict(self, pod: str) -> None:
        """As `kubectl drain` does with every pod of a node."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        order = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}
        self.kubectl("create", "--raw", path, "-f", "-", given=order)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    made = Cluster(f"shelver-test-{uuid.uuid4().hex[:8]}")
    made.apply("v1", "Namespace", made.namespace)
    made.apply("v1", "ConfigMap", "program", data={"program.py": PROGRAM})
    yield made
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="session")
def account(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher's kubeconfig."""
    return cluster.account("launcher", ROLE, tmp_path_factory.mktemp("account"))


@pytest.fixture
def make_launcher(
    cluster: Cluster, account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., KubernetesLauncher]]:
    """Launchers over the templates of this folder, each changed by a function; what they start is removed."""

    def make(change: Change = lambda job: None, kubeconfig: Path = account) -> KubernetesLauncher:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        for file in HERE.glob("jobs/*.yaml"):
            job = yaml.safe_load(file.read_text())
            job["metadata"]["namespace"] = cluster.namespace
            job["spec"]["template"]["spec"]["containers"][0]["image"] = os.environ.get("TEST_CLUSTER_IMAGE", IMAGE)
            change(job)
            (folder / file.name).write_text(yaml.safe_dump(job))
        with monkeypatch.context() as patch:
            patch.setenv("KUBECONFIG", str(kubeconfig))
            return KubernetesLauncher(folder)

    yield make
    opened = make()
    for name in opened.status():
        opened.delete(name)


@pytest.fixture
def launcher(make_launcher: Callable[..., KubernetesLauncher]) -> KubernetesLauncher:
    return make_launcher()
