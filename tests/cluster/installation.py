"""Shelver installed on the cluster with external stores, as its operator and its users meet it.

TEST_CLUSTER_OLDER is the folder that `.ci/older` filled, whose images have the same names and another version.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from services.cli.client import Client
from shared import wiring
from shared.domain.errors import StoreUnavailableError
from shared.ports import Stores
from shared.settings import Settings
from tests.cluster import release
from tests.cluster.namespace import Cluster, Json
from tests.guide import REPOSITORY, documented
from tests.monitoring.prometheus import Prometheus, scraping
from tests.monitoring.shipped import ALERTS
from tests.ports import free_port
from tests.servers import programs
from tests.servers.fixtures import started
from tests.servers.process import Process, ProcessError

SECONDS = 600.0  # for what must come about on a busy machine
CURRENT = REPOSITORY / "charts" / "shelver"
COMPONENTS = {"gateway": 2, "dispatcher": 2, "launcher": 1, "worker-default": 2}
"""Pods of each."""
T = TypeVar("T")


class Installation:
    """One release called `shelver` in a namespace made for it."""

    def __init__(self, folder: Path, namespace: str, stores: Settings) -> None:
        """`stores` are the settings of the external stores as this machine reaches them."""
        self.folder = folder
        self.cluster = Cluster(namespace)
        self.settings = stores
        self.stores: Stores = wiring.stores(stores)
        programs_here = folder / "bin"
        programs_here.mkdir()
        (programs_here / "helm").symlink_to(programs.built(programs.HELM))
        self.answers = b""  # what an undisturbed job says
        self._port = free_port()
        self.environment = {
            name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"
        } | {  # rclone's end
            "PATH": f"{Path(sys.executable).parent}:{programs_here}:{os.environ['PATH']}",
            "SHELVER_SERVER": f"http://127.0.0.1:{self._port}",
        }
        self._forward = self._forwarding("service/shelver-gateway", self._port, 80)

    def install(self, chart: Path) -> None:
        """From nothing, as the guide says."""
        namespace = yaml.safe_load((REPOSITORY / "k8s" / "namespace.yaml").read_text())
        namespace["metadata"]["name"] = self.cluster.namespace
        own = self.folder / "namespace.yaml"
        own.write_text(yaml.safe_dump(namespace))
        self.run(documented("kubectl apply -f k8s/namespace.yaml").replace("k8s/namespace.yaml", str(own)))
        stores = documented(
            "kubectl --namespace shelver create secret generic stores --from-literal=catalog=CATALOG "
            "--from-literal=queue=QUEUE",
            CATALOG=self.settings.catalog,
            QUEUE=self.settings.queue,
        )
        bucket = documented(
            "kubectl --namespace shelver create secret generic bucket --from-file=credentials=FILE",
            FILE=self.settings.s3.credentials_file,
        )
        first_key = documented(
            "kubectl --namespace shelver create secret generic first-key "
            '--from-literal=admin-key="$(openssl rand -hex 24)"'
        )
        for command in (stores, bucket, first_key):
            self.run(command)
        install = documented(
            "helm install shelver charts/shelver --namespace shelver --values VALUES --wait --timeout 10m",
            VALUES=str(self.values(chart)),
        )
        self.run(install.replace("charts/shelver", str(chart)))
        documented("kubectl --namespace shelver port-forward service/shelver-gateway 8080:80")  # `ask` holds it
        self.know_key()

    def know_key(self) -> None:
        """Take the key from its Secret."""
        line = documented(
            "export SHELVER_SERVER=http://127.0.0.1:8080 SHELVER_KEY=$(kubectl --namespace shelver "
            """get secret first-key --output go-template='{{index .data "admin-key" | base64decode}}')"""
        )
        self.environment["SHELVER_KEY"] = self.run(f"{line}; echo $SHELVER_KEY").strip()

    def run(self, command: str, *, seconds: float = 600.0) -> str:
        """What a command prints; `--namespace shelver` stands for the namespace that there is."""
        line = command.replace("--namespace shelver", f"--namespace {self.cluster.namespace}")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env=self.environment,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}{self.events()}"
        return done.stdout

    def as_user(self, command: str) -> str:
        """What a command prints that asks the gateway; again where the pod at the end of the way went meanwhile."""
        while True:
            self.ask(lambda client: client.get("datasets"))  # the way there stands
            try:
                return self.run(command)
            except AssertionError:
                if self._forward.running():
                    raise

    def images(self, chart: Path) -> dict[str, str]:
        """Those of a chart's version."""
        return release.images(chart)

    def values(self, chart: Path, **more: Any) -> Path:
        """A file of values for a chart and the images of its version."""
        file = self.folder / f"values-{len(list(self.folder.glob('values-*')))}.yaml"
        file.write_text(yaml.safe_dump(release.values(chart, self.settings) | more))
        return file

    def ask(self, question: Callable[[Client], T]) -> T:
        """What the gateway answers; a pod that went away under the connection is no answer."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                if not self._forward.running():
                    self._forward.start()
                with closing(self._client()) as client:
                    return question(client)
            except (StoreUnavailableError, ProcessError):
                self._forward.kill()
                assert time.monotonic() < deadline, f"the gateway stays away{self._forward.log()}{self.events()}"

    def _client(self) -> Client:
        return Client(self.environment["SHELVER_SERVER"], self.environment["SHELVER_KEY"], sleep=lambda _: None)

    def get(self, *path: str) -> Any:
        return self.ask(lambda client: client.get(*path))

    def submit(self) -> str:
        """A new job of many chunks, in which no product is skipped; its id."""
        body = {"dataset": "test", "ensemble": "small", "skip_decided": False, "chunk_images": 8}
        return str(self.ask(lambda client: client.post("jobs", body=body, repeat=False))["id"])

    def wait(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Until it comes true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}{self.events()}"
            time.sleep(0.2)

    def begun(self, job: str) -> str:
        """The job once some of its chunks are done, and others are not."""
        self.wait(lambda: self.get("jobs", job)["chunks"].get("done", 0) > 1, f"job {job} has begun")
        assert self.get("jobs", job)["state"] == "running"
        return job

    def ended(self, job: str) -> str:
        """The job once it has succeeded with an answer for every product."""
        self.wait(lambda: self.get("jobs", job)["state"] not in ("queued", "planning", "running"), f"job {job} ends")
        view = self.get("jobs", job)
        assert (view["state"], view["error"], view["failed"]) == ("succeeded", "", 0)
        assert view["done"] == view["products"] == self.stores.jobs.count_outcomes(job)
        return job

    def export(self, job: str) -> bytes:
        """The submission of a job once it has ended. The job goes: the tests' store reads all rows to find one."""
        output = self.folder / f"{job}.csv"
        self.as_user(f"shelver export {self.ended(job)} --format csv --output {output}")
        self.stores.jobs.remove_job(job)
        return output.read_bytes()

    def train(self, file: str) -> str:
        """A new training on the dataset `train`; its id."""
        body = {"file": file, "dataset": "train"}
        return str(self.ask(lambda client: client.post("trainings", body=body))["id"])

    def trained(self, training: str) -> Json:
        """The training once it is complete."""
        self.wait(lambda: self.get("trainings", training)["state"] != "running", f"training {training} ends")
        view: Json = self.get("trainings", training)
        assert (view["state"], view["reason"]) == ("complete", "")
        return view

    def jobs(self) -> set[str]:
        """The names of the Jobs that there are."""
        return set(self.cluster.kubectl("get", "jobs", "--output", "jsonpath={.items[*].metadata.name}").split())

    def score_here(self, ensemble: str, dataset: str) -> bytes:
        """The submission of the same version and packs by one process of this machine, whose rows are its own."""
        s3 = self.settings.s3
        here = replace(self.settings, home=self.folder / "here", catalog="", queue="")
        rows = wiring.stores(here)
        version = self.stores.runs.version(ensemble)
        rows.runs.add_version(version)
        rows.runs.set_current(ensemble, version.version)
        (known,) = (one for one in self.stores.catalog.datasets() if one.name == dataset)
        rows.catalog.add_dataset(known)
        places = f"SHELVER_HOME={here.home} SHELVER_OBJECTS={here.objects} SHELVER_S3_ENDPOINT={s3.endpoint}"
        alone = (
            f"env --unset SHELVER_SERVER --unset SHELVER_KEY {places} SHELVER_S3_CREDENTIALS_FILE={s3.credentials_file}"
        )
        self.run(f"{alone} shelver score {dataset} --ensemble {ensemble} --no-skip-decided")
        output = self.folder / "here.csv"
        self.run(f"{alone} shelver export {rows.jobs.jobs()[0].id} --format csv --output {output}")
        return output.read_bytes()

    @contextmanager
    def scraped(self) -> Iterator[Prometheus]:
        """A Prometheus that scrapes every pod there is."""
        folder = self.folder / f"prometheus-{len(list(self.folder.glob('prometheus-*')))}"
        folder.mkdir()
        with ExitStack() as stack:
            targets = {}
            for component in COMPONENTS:
                for pod in self.pods(component):
                    name, port = pod["metadata"]["name"], free_port()
                    of_pod = 8080 if component == "gateway" else 9090
                    forward = self._forwarding(f"pod/{name}", port, of_pod)
                    stack.enter_context(started(forward))
                    targets[name] = f"127.0.0.1:{port}"
            yield stack.enter_context(scraping(folder, targets, ALERTS))

    def pods(self, component: str) -> list[Json]:
        """Those of a component that are not on their way out."""
        selector = f"app.kubernetes.io/instance=shelver,app.kubernetes.io/component={component}"
        found = json.loads(self.cluster.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> int:
        """How many pods of a component are ready."""
        conditions = [pod.get("status", {}).get("conditions", ()) for pod in self.pods(component)]
        return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in of_pod) for of_pod in conditions)

    def scale(self, deployment: str, replicas: int) -> None:
        self.cluster.kubectl("scale", "deployment", deployment, f"--replicas={replicas}")

    def events(self) -> str:
        """What the cluster has to say, for a test that fails."""
        command = "get pods --output wide; kubectl --namespace NS get events --sort-by .lastTimestamp | tail -n 25"
        line = f"kubectl --namespace NS {command}".replace("NS", self.cluster.namespace)
        return "\n" + subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False).stdout

    def end(self) -> None:
        self._forward.kill()

    def _forwarding(self, what: str, here: int, there: int) -> Process:
        words = ["kubectl", "--namespace", self.cluster.namespace, "port-forward", what, f"{here}:{there}"]
        log = self.folder / f"forward-{here}.log"
        return Process("port-forward", words, log, ready=lambda: _listens(here))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
