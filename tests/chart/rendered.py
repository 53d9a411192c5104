"""What Helm makes of the chart."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings, examine
from tests.servers import programs

CHART = Path(__file__).parents[2] / "charts" / "shelver"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
Manifest = Mapping[str, Any]

EVERYTHING = (
    "keda.enabled=true",
    "monitoring.podMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "monitoring.dashboards.enabled=true",
    "gateway.ingress.enabled=true",
    "gateway.ingress.className=nginx",
    "gateway.ingress.tlsSecret=certificate",
    "gateway.priorityClassName=shelver-serving",
    "gateway.nodeSelector.disk=ssd",
    "gateway.tolerations[0].operator=Exists",
    "images.pullSecrets[0]=registry",
    "jobs.training.kueueQueue=gpus",
    "networkPolicy.clients[0].namespaceSelector.matchLabels.name=ingress",
    "networkPolicy.prometheus[0].namespaceSelector.matchLabels.name=monitoring",
    "pools[0].name=batch",
    "pools[1].name=interactive",
    "pools[1].ensemble=grocery-small",
    "pools[1].scale.min=1",
    "pools[1].gpu.count=0",
)
EXTERNAL = (
    "external.catalog.secret=stores",
    "external.queue.secret=stores",
    "external.objects.secret=bucket",
    "external.objects.ca=ca.crt",
    "external.objects.endpoint=https://s3.example.com",
    "gateway.adminKey.secret=first-key",
)
CASES = {"defaults": (), "everything": EVERYTHING, "external": EXTERNAL, "all at once": EVERYTHING + EXTERNAL}
every_case = pytest.mark.parametrize("case", CASES)


KUBERNETES = "--kube-version=1.33.0"
"""A Helm that was built without the flags of a release takes itself for one of an old Kubernetes."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs.built(programs.HELM), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def template(
    *values: str, values_file: Path | None = None, namespace: str = "shelver"
) -> subprocess.CompletedProcess[str]:
    sets = [f"--set={value}" for value in values] + ([f"--values={values_file}"] if values_file else [])
    return helm("template", "shop", str(CHART), f"--namespace={namespace}", KUBERNETES, *sets)


@cache
def rendered(case: str) -> list[Manifest]:
    """The manifests of one of CASES."""
    return manifests(*CASES[case])


def manifests(*values: str, values_file: Path | None = None, namespace: str = "shelver") -> list[Manifest]:
    done = template(*values, values_file=values_file, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def find(found: list[Manifest], kind: str, name: str) -> Manifest:
    (one,) = (one for one in found if one["kind"] == kind and one["metadata"]["name"] == name)
    return one


def jobs(found: list[Manifest]) -> dict[str, Manifest]:
    """The templates for the launcher by file name."""
    files = find(found, "ConfigMap", "shop-shelver-jobs")["data"]
    return {name: yaml.safe_load(text) for name, text in files.items()}


@dataclass(frozen=True)
class Pod:
    component: str
    labels: Mapping[str, str]
    spec: Manifest

    @property
    def container(self) -> Manifest:
        (only,) = self.spec["containers"]
        return only

    @property
    def ours(self) -> bool:
        """Not a trial store."""
        return self.component not in ("mongodb", "redis", "minio")


def pods(found: list[Manifest]) -> Iterator[Pod]:
    """Of every workload, test and template of a Job."""
    for one in [*found, *jobs(found).values()]:
        match one["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                pod = one["spec"]["template"]
            case "Pod":
                pod = one
            case _:
                continue
        labels = pod["metadata"]["labels"]
        yield Pod(labels["app.kubernetes.io/component"], labels, pod["spec"])


def environment(found: list[Manifest], pod: Pod) -> dict[str, str]:
    """The variables of a pod of ours; those from a Secret as an address that every setting takes."""
    (source,) = pod.container["envFrom"]
    variables = dict(find(found, "ConfigMap", source["configMapRef"]["name"])["data"])
    scheme = {"SHELVER_CATALOG": "mongodb://", "SHELVER_QUEUE": "redis://"}
    for one in pod.container.get("env", []):
        variables[one["name"]] = one.get("value", f"{scheme.get(one['name'], '')}secret")
    return variables


def settings(found: list[Manifest], pod: Pod) -> Settings:
    read, faults = examine(environment(found, pod))
    assert faults == []
    return read
