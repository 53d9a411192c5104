"""Tests on a real cluster: `make test-cluster`, on the one that KUBECONFIG names, in a namespace made for them.

No file is called test_*.py, so that `make test` does not ask for one. TEST_CLUSTER_IMAGE names an image with `python3`
that the nodes have or can pull; the default is one of Docker Hub's.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from shared.adapters.kubernetes_jobs import KubernetesLauncher
from tests.cluster.installation import Installation
from tests.cluster.namespace import Cluster, Json
from tests.cluster.stores import external_stores

HERE = Path(__file__).parent
IMAGE = "docker.io/library/python:3.13-slim"
PROGRAM = "import sys; exec(sys.argv[2])"
ROLE = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]
"""All that the launcher may do, in its namespace alone."""

Change = Callable[[Json], None]


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
    cluster.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=120s")  # the next test sees its own alone


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Installed from nothing in the release before this one; tests upgrade it."""
    older = os.environ.get("TEST_CLUSTER_OLDER", "")
    assert older, (
        "TEST_CLUSTER_OLDER must name the folder that .ci/older filled, whose images the nodes have or can pull"
    )
    folder = tmp_path_factory.mktemp("shop")
    with external_stores(folder) as stores:
        found = Installation(folder, f"shelver-test-{uuid.uuid4().hex[:8]}", stores)
        try:
            found.install(Path(older) / "charts" / "shelver")
            yield found
        finally:
            found.end()
            found.cluster.kubectl("delete", "namespace", found.cluster.namespace, "--wait=false")


@pytest.fixture
def launcher(make_launcher: Callable[..., KubernetesLauncher]) -> KubernetesLauncher:
    return make_launcher()
