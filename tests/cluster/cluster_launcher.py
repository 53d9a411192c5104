import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.adapters.kubernetes_jobs import KubernetesLauncher
from shared.domain.errors import BadInputError, StoreUnavailableError
from shared.ports import Launched
from tests.cluster.conftest import ROLE
from tests.cluster.namespace import Cluster, Json
from tests.contract.launcher_suite import DEADLINE_SECONDS, LauncherSuite, ended, runs, wait_for

Make = Callable[..., KubernetesLauncher]
LAST_WORDS = (
    "import signal, sys, time; signal.signal(15, lambda *_: (print('saved', flush=True), sys.exit(143))); "
    "print('started', flush=True); time.sleep(600)"
)


class TestJobs(LauncherSuite):
    """The suite that processes of one machine pass too."""


def trains(statement: str) -> list[str]:
    return ["workers.training", "--run", statement, "--attempt", "1"]


def says(*words: str) -> Callable[[Launched], bool]:
    return lambda launched: all(word in launched.reason for word in words)


def running(cluster: Cluster, job: str) -> str:
    """The name of the pod that runs; empty without one."""
    return next((pod["metadata"]["name"] for pod in cluster.pods(job) if pod["status"]["phase"] == "Running"), "")


def test_the_templates_start_the_modules_of_both_services(launcher: KubernetesLauncher) -> None:
    launcher.launch("train-0123456789abcdef-1", trains("print(sys.argv)"))
    ingest = ["services.ingest", "--dataset", "print(sys.argv)", "--index", "0", "--count", "1"]
    launcher.launch("ingest-My.Shop-0", ingest)
    for name, words in (("train-0123456789abcdef-1", "'--attempt', '1'"), ("ingest-My.Shop-0", "'--count', '1'")):
        status = wait_for(launcher, name, ended)
        assert (status.state, status.exit_code, status.reason) == ("succeeded", 0, "")
        assert words in status.log_tail


def test_bad_input_is_not_tried_again(cluster: Cluster, launcher: KubernetesLauncher) -> None:
    launcher.launch("p", trains("print('no such member'); sys.exit(2)"))
    assert wait_for(launcher, "p", ended) == Launched("p", "failed", 2, "no such member")
    assert len(cluster.pods("p")) == 1


def test_a_failure_is_tried_as_often_as_the_template_says(cluster: Cluster, launcher: KubernetesLauncher) -> None:
    launcher.launch("p", trains("sys.exit('no luck')"))
    wait_for(launcher, "p", says("starting again: exit code 1"))
    assert wait_for(launcher, "p", ended) == Launched("p", "failed", 1, "no luck")
    assert len(cluster.pods("p")) == 2


@pytest.mark.parametrize("how", ["evicted", "deleted"])
def test_a_pod_that_is_ended_from_outside_is_replaced_uncounted(
    cluster: Cluster, launcher: KubernetesLauncher, make_launcher: Make, how: str
) -> None:
    launcher.launch("p", trains(LAST_WORDS))
    gone: list[str] = []
    for _ in range(2):  # more often than failures would be allowed
        wait_for(launcher, "p", lambda one: runs(one) and running(cluster, "p") not in ("", *gone))
        gone.append(running(cluster, "p"))
        if how == "evicted":
            cluster.evict(gone[-1])
        else:
            cluster.kubectl("delete", "pod", gone[-1], "--wait=false")
        launcher = make_launcher()  # one that starts meanwhile
    wait_for(launcher, "p", lambda one: runs(one) and running(cluster, "p") not in ("", *gone))


def test_a_job_that_is_deleted_by_hand_is_unknown_once_its_pod_has_gone(cluster: Cluster, make_launcher: Make) -> None:
    def patient(job: Json) -> None:
        job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = int(DEADLINE_SECONDS)

    launcher = make_launcher(patient)
    launcher.launch("p", trains(LAST_WORDS.replace("sys.exit(143)", "None")))  # ends when it is killed, not before
    wait_for(launcher, "p", runs)
    (pod,) = (one["metadata"]["name"] for one in cluster.pods("p"))
    cluster.kubectl("delete", "job", "p", "--wait=false")
    wait_for(launcher, "p", says("ending: its Job was deleted"))
    cluster.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while "p" in launcher.status():
        assert time.monotonic() < deadline
    assert running(cluster, "p") == ""
    launcher.launch("p", trains("pass"))
    assert wait_for(launcher, "p", ended).state == "succeeded"


def test_what_no_node_can_run_waits_with_the_schedulers_words(make_launcher: Make) -> None:
    def greedy(job: Json) -> None:
        job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"shelver.test/gpu": "8"}}

    launcher = make_launcher(greedy)
    launcher.launch("p", trains("pass"))
    assert wait_for(launcher, "p", says("waiting: ", "nodes are available", "shelver.test/gpu")).state == "running"


def test_an_image_that_is_not_there_is_named(make_launcher: Make) -> None:
    def missing(job: Json) -> None:
        container = job["spec"]["template"]["spec"]["containers"][0]
        container |= {"image": "localhost/no-such-image:1", "imagePullPolicy": "Never"}

    launcher = make_launcher(missing)
    launcher.launch("p", trains("pass"))
    wait_for(launcher, "p", says("waiting: the image localhost/no-such-image:1 cannot be pulled"))


def test_out_of_memory_is_said(launcher: KubernetesLauncher) -> None:
    launcher.launch("p", trains("print('loading', flush=True); held = b'x' * 2**28"))
    status = wait_for(launcher, "p", ended)
    words = "exit code 137: out of memory: it needs more than its limit of 64Mi (OOMKilled)"
    assert (status.state, status.reason, status.log_tail) == ("failed", words, "loading")


def test_a_job_past_its_deadline_has_failed(make_launcher: Make) -> None:
    launcher = make_launcher(lambda job: job["spec"].update(activeDeadlineSeconds=3))
    launcher.launch("p", trains(LAST_WORDS))
    status = wait_for(launcher, "p", ended)
    assert (status.state, status.reason) == ("failed", "it ran longer than its Job's activeDeadlineSeconds")


def test_a_template_that_the_server_refuses_is_named(make_launcher: Make) -> None:
    launcher = make_launcher(lambda job: job["spec"]["template"]["spec"].update(restartPolicy="Sometimes"))
    with pytest.raises(BadInputError, match=r"training\.yaml: .*restartPolicy.*; correct the chart's values"):
        launcher.launch("p", trains("pass"))
    assert launcher.status() == {}


@pytest.mark.parametrize("missing", [(0, "create"), (0, "get"), (0, "list"), (0, "delete"), (1, "list"), (2, "get")])
def test_a_right_that_is_missing_is_named(
    cluster: Cluster, launcher: KubernetesLauncher, make_launcher: Make, tmp_path: Path, missing: tuple[int, str]
) -> None:
    rule, verb = missing
    launcher.launch("ended", trains("pass"))
    wait_for(launcher, "ended", ended)
    less = [dict(one) for one in ROLE]
    less[rule]["verbs"] = [one for one in ROLE[rule]["verbs"] if one != verb] or ["watch"]
    poor = make_launcher(kubeconfig=cluster.account(f"less-{rule}-{verb}", less, tmp_path))
    wanted = f"add the verb '{verb}' on '{ROLE[rule]['resources'][0]}' to the launcher's Role"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while wanted not in (words := refusal(poor)):  # a Role comes into force in its own time
        assert time.monotonic() < deadline, words


def refusal(launcher: KubernetesLauncher) -> str:
    try:
        for _ in range(2):
            launcher.launch("other", trains("pass"))
        launcher.status()
        launcher.delete("other")
    except StoreUnavailableError as error:
        return str(error)
    return ""
