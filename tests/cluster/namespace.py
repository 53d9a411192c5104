"""A namespace of the cluster that KUBECONFIG names."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]


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
