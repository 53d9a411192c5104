import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import wiring
from shared.adapters import kubernetes_api
from shared.adapters.kubernetes_jobs import KubernetesLauncher
from shared.domain.errors import BadInputError, StoreUnavailableError
from shared.ports import Launched
from shared.settings import from_environment
from tests.kube_server import KubeServer, ended, serving
from tests.unit.test_job_templates import TEMPLATE

RUN = ["workers.training", "--run", "a"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeServer]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with serving(tmp_path / "kubeconfig") as opened:
        yield opened


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for name in ("training", "ingest"):
        (folder / f"{name}.yaml").write_text(TEMPLATE)
    return folder


@pytest.fixture
def launcher(server: KubeServer, templates: Path) -> KubernetesLauncher:
    time = iter(range(1000))
    return KubernetesLauncher(templates, clock=lambda: float(next(time)), sleep=lambda _: None)


def test_a_setting_alone_chooses_it(server: KubeServer, templates: Path) -> None:
    settings = from_environment({"SHELVER_LAUNCHER_TEMPLATES": str(templates)})
    chosen = wiring.launcher(settings)
    assert isinstance(chosen, KubernetesLauncher)
    assert server.asked == []
    chosen.check()
    assert server.asked == ["GET shop/jobs"]


def test_a_process_from_its_launch_to_its_last_lines(server: KubeServer, launcher: KubernetesLauncher) -> None:
    launcher.launch("train-a-1", RUN)
    launcher.launch("train-a-1", RUN)
    assert list(server.jobs) == ["train-a-1"]
    assert launcher.status()["train-a-1"].reason.startswith("waiting: no pod yet")
    server.pod("train-a-1", "train-a-1-x", phase="Running")
    assert launcher.status() == {"train-a-1": Launched("train-a-1", "running")}
    assert not any("log" in one for one in server.asked)
    server.pods["train-a-1-x"]["status"] = ended("training", 2)
    server.end("train-a-1", "Failed", reason="PodFailurePolicy", message="...")
    tail = "the log of train-a-1-x"
    for _ in range(3):
        assert launcher.status() == {"train-a-1": Launched("train-a-1", "failed", 2, tail)}
    assert sum(one.endswith("/log") for one in server.asked) == 1


def test_the_tail_is_the_end_of_the_log_and_survives_its_absence(
    server: KubeServer, launcher: KubernetesLauncher
) -> None:
    launcher.launch("p", RUN)
    server.pod("p", "p-x", **ended("training", 1))
    server.end("p", "Failed", reason="BackoffLimitExceeded", message="...")
    server.logs["p-x"] = b"x" * 5000 + b"\xff the end\n"
    tail = launcher.status()["p"].log_tail
    assert len(tail) == 4095  # without the last line's end
    assert tail.endswith("\N{REPLACEMENT CHARACTER} the end")
    server.pod("p", "p-y", **ended("training", 1))
    server.faults["GET log"] = (500, "dial tcp: no route to host")  # its node is dead
    assert launcher.status()["p"] == Launched("p", "failed", 1, "")


def test_names_that_kubernetes_does_not_take(server: KubeServer, launcher: KubernetesLauncher) -> None:
    for name in ("ingest-My.Shop-0", "ingest-my_shop-0", "ingest-my-shop-0"):
        launcher.launch(name, ["services.ingest", "--dataset", "d"])
    assert sorted(launcher.status()) == ["ingest-My.Shop-0", "ingest-my-shop-0", "ingest-my_shop-0"]
    launcher.delete("ingest-My.Shop-0")
    assert sorted(launcher.status()) == ["ingest-my-shop-0", "ingest-my_shop-0"]


def test_lists_come_page_by_page(server: KubeServer, launcher: KubernetesLauncher) -> None:
    server.page = 2
    names = [f"train-{number}-1" for number in range(5)]
    for name in names:
        launcher.launch(name, RUN)
        server.pod(name, f"{name}-x", phase="Running")
    assert launcher.status() == {name: Launched(name, "running") for name in names}


def test_the_jobs_of_others_are_left_alone(server: KubeServer, launcher: KubernetesLauncher) -> None:
    server.jobs["train-a-1"] = {"metadata": {"name": "train-a-1", "uid": "u"}, "spec": {}}
    assert launcher.status() == {}
    with pytest.raises(BadInputError, match="Job train-a-1: it is there, and no launcher of this"):
        launcher.launch("train-a-1", RUN)


def test_two_installations_of_a_namespace_leave_each_others_jobs_alone(server: KubeServer, tmp_path: Path) -> None:
    launchers = []
    for instance in ("one", "two"):
        folder = tmp_path / instance
        folder.mkdir()
        template = TEMPLATE.replace("team: vision", f"app.kubernetes.io/instance: {instance}")
        (folder / "training.yaml").write_text(template)
        launchers.append(KubernetesLauncher(folder))
    for launcher, name in zip(launchers, ("train-a-1", "train-b-1"), strict=True):
        launcher.launch(name, RUN)
    for launcher, name in zip(launchers, ("train-a-1", "train-b-1"), strict=True):
        server.pod(name, f"{name}-x", phase="Running")
        assert launcher.status() == {name: Launched(name, "running")}
    with pytest.raises(BadInputError, match="Job train-a-1: it is there, and no launcher of this installation"):
        launchers[1].launch("train-a-1", RUN)


def test_deleting_waits_for_the_pod(server: KubeServer, launcher: KubernetesLauncher) -> None:
    launcher.launch("p", RUN)
    server.pod("p", "p-x", phase="Running")
    looks = 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            server.pods["p-x"]["status"]["phase"] = "Failed"

    launcher._sleep = sleep
    launcher.delete("p")
    assert looks == 3
    assert launcher.status() == {}
    launcher.delete("p")


def test_a_pod_that_does_not_end_delays_its_name_alone(
    server: KubeServer, launcher: KubernetesLauncher, caplog: pytest.LogCaptureFixture
) -> None:
    launcher.launch("p", RUN)
    server.pod("p", "p-x", phase="Running")
    launcher.delete("p")
    assert "the pod of p is still ending" in caplog.text
    assert launcher.status() == {"p": Launched("p", "running", reason="ending: its Job was deleted")}
    asked = len(server.asked)
    launcher.delete("p")  # again, without waiting
    assert server.asked[asked:] == ["DELETE shop/jobs/p"]
    server.pods["p-x"]["status"]["phase"] = "Failed"
    assert launcher.status() == {}


def test_the_pod_of_a_deleted_job_is_not_the_new_ones(server: KubeServer, launcher: KubernetesLauncher) -> None:
    launcher.launch("p", RUN)
    server.pod("p", "p-old", **ended("training", 1))
    del server.jobs["p"]
    assert launcher.status() == {}
    launcher.launch("p", RUN)
    server.pod("p", "p-new", phase="Running")
    assert launcher.status() == {"p": Launched("p", "running")}


def test_a_job_on_its_way_out_is_waited_for(server: KubeServer, launcher: KubernetesLauncher) -> None:
    launcher.launch("p", RUN)
    server.jobs["p"]["metadata"]["deletionTimestamp"] = "2024-05-01T00:00:00Z"
    assert launcher.status() == {}
    with pytest.raises(StoreUnavailableError, match="the last Job p is still being deleted"):
        launcher.launch("p", RUN)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((500, "etcdserver: request timed out"), "answers 500: etcdserver: request timed out"),
        ((429, "too many requests"), "answers 429"),
        ((401, "Unauthorized"), "does not know us: Unauthorized; does the service account"),
        (
            (403, 'jobs.batch is forbidden: User "u" cannot list resource "jobs" in API group "batch"'),
            "add the verb 'list' on 'jobs' to the launcher's Role",
        ),
    ],
)
def test_an_outage_is_told_with_its_remedy(
    server: KubeServer, launcher: KubernetesLauncher, fault: tuple[int, str], words: str
) -> None:
    launcher.launch("p", RUN)
    server.faults["GET jobs"] = fault
    for ask in (launcher.status, launcher.check):
        with pytest.raises(StoreUnavailableError, match=words):
            ask()
    server.faults.clear()
    assert list(launcher.status()) == ["p"]


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_manifest_that_the_server_refuses_is_named(
    server: KubeServer, launcher: KubernetesLauncher, status: int
) -> None:
    server.faults["POST jobs"] = (status, "spec.template.spec.restartPolicy: Unsupported value")
    with pytest.raises(BadInputError, match=r"jobs/training\.yaml: spec\.template.*; correct the chart's values"):
        launcher.launch("p", RUN)


def test_a_server_that_is_away(tmp_path: Path, server: KubeServer, templates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kubeconfig = tmp_path / "kubeconfig"
    lines = kubeconfig.read_text().splitlines()
    kubeconfig.write_text("\n".join(f"    server: http://127.0.0.1:{port}" if "server:" in x else x for x in lines))
    launcher = KubernetesLauncher(templates)
    with pytest.raises(StoreUnavailableError, match=f"Kubernetes at http://127.0.0.1:{port} does not answer"):
        launcher.status()


def test_without_a_cluster_the_setting_is_refused(
    server: KubeServer, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(templates / "missing"))
    with pytest.raises(BadInputError, match=r"jobs/missing: .*; run in a pod with a service account"):
        KubernetesLauncher(templates)


def test_a_server_that_says_nothing_is_given_up(
    server: KubeServer, launcher: KubernetesLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "_TIMEOUT", (0.1, 0.1))
    answers = threading.Event()
    monkeypatch.setattr(server, "answer", lambda *_: (answers.wait(), (500, b""))[1])
    with pytest.raises(StoreUnavailableError, match=r"does not answer: .*[Tt]imed out"):
        launcher.status()
    answers.set()
