from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.job_states import has_ended, judge, newest
from shared.ports import Launched
from tests.kube_server import ended

Json = dict[str, Any]
SPEC = {"containers": [{"name": "main", "image": "worker:1", "resources": {"limits": {"memory": "2Gi"}}}]}


def job(*conditions: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"conditions": [*conditions]}}


def is_true(kind: str, **said: str) -> Json:
    return {"type": kind, "status": "True", **said}


def pod(*conditions: Json, at: int = 0, **status: Any) -> Json:
    made = {"creationTimestamp": f"2024-05-01T00:00:0{at}Z"}
    return {"metadata": made, "spec": SPEC, "status": {"conditions": [*conditions], **status}}


def failed(why: str = "BackoffLimitExceeded", message: str = "Job has reached the specified backoff limit") -> Json:
    return job(is_true("Failed", reason=why, message=message))


def waiting(**said: str) -> Json:
    container = {"name": "main", "image": "worker:1", "state": {"waiting": said}}
    return pod(is_true("PodScheduled"), phase="Pending", containerStatuses=[container])


GONE = is_true("DisruptionTarget", reason="EvictionByEvictionAPI", message="Eviction API: evicting")


@pytest.mark.parametrize(
    ("of", "pods", "expected"),
    [
        (job(is_true("Complete")), [pod(**ended("main", 0))], ("succeeded", 0, "")),
        (job(is_true("Complete")), [], ("succeeded", 0, "")),
        (failed("PodFailurePolicy"), [pod(**ended("main", 2))], ("failed", 2, "")),
        (failed(), [pod(**ended("main", 143))], ("preempted", 143, "")),
        (
            failed(),
            [pod(**ended("main", 137, reason="OOMKilled"))],
            ("failed", 137, "exit code 137: out of memory: it needs more than its limit of 2Gi (OOMKilled)"),
        ),
        (
            failed(),
            [pod(GONE, **ended("main", 137))],
            ("preempted", 137, "ended from outside: Eviction API: evicting"),
        ),
        (
            failed(),
            [pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")],
            ("failed", None, "Evicted: The node was low on resource: memory."),
        ),
        (failed(), [], ("failed", None, "Job has reached the specified backoff limit")),
        (
            failed("DeadlineExceeded"),
            [pod(**ended("main", 143))],
            ("failed", 143, "it ran longer than its Job's activeDeadlineSeconds"),
        ),
        (failed("DeadlineExceeded"), [], ("failed", None, "it ran longer than its Job's activeDeadlineSeconds")),
        # the newest pod tells, whatever the order
        (failed(), [pod(**ended("main", 1), at=2), pod(**ended("main", 143), at=1)], ("failed", 1, "")),
    ],
)
def test_how_a_process_ended(of: Json, pods: list[Json], expected: tuple[str, int | None, str]) -> None:
    state, code, reason = expected
    assert judge("p", of, pods) == Launched("p", state, code, reason=reason)


@pytest.mark.parametrize(
    ("of", "pods", "reason"),
    [
        (job(), [], "waiting: no pod yet; `kubectl describe job p` tells why if it stays so"),
        (
            job(is_true("Suspended", message="Not admitted: queue is full"), suspend=True),
            [],
            "waiting: its Job is suspended; Not admitted: queue is full",
        ),
        (
            job(),
            [
                pod(
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: no victims.",
                    },
                    phase="Pending",
                )
            ],
            "waiting: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
        ),
        (job(), [pod(phase="Pending")], "waiting: its node starts it"),
        (job(), [waiting(reason="ContainerCreating")], "waiting: ContainerCreating"),
        (
            job(),
            [waiting(reason="CreateContainerConfigError", message='secret "s3" not found')],
            'waiting: CreateContainerConfigError: secret "s3" not found',
        ),
        (
            job(),
            [waiting(reason="ImagePullBackOff", message="Back-off pulling image")],
            "waiting: the image worker:1 cannot be pulled: Back-off pulling image",
        ),
        (
            job(),
            [waiting(reason="ErrImageNeverPull")],
            "waiting: the image worker:1 cannot be pulled: ErrImageNeverPull",
        ),
        (job(), [pod(phase="Running")], ""),
        (job(), [pod(phase="Succeeded")], ""),
        (job(is_true("FailureTarget")), [pod(phase="Running")], ""),
        (job(), [pod(**ended("main", 143))], "starting again: exit code 143"),
        (job(), [pod(GONE, **ended("main", 137))], "starting again: ended from outside: Eviction API: evicting"),
        (job(), [pod(**ended("main", 143)), pod(phase="Running", at=1)], ""),
    ],
)
def test_why_a_process_waits(of: Json, pods: list[Json], reason: str) -> None:
    assert judge("p", of, pods) == Launched("p", "running", reason=reason)


CONDITIONS = st.lists(
    st.builds(
        lambda kind, status, said: {"type": kind, "status": status, **said},
        st.sampled_from(["Complete", "Failed", "FailureTarget", "Suspended", "PodScheduled", "DisruptionTarget"]),
        st.sampled_from(["True", "False", "Unknown"]),
        st.dictionaries(st.sampled_from(["reason", "message"]), st.text(max_size=5)),
    ),
    max_size=3,
)
STATES = st.one_of(
    st.just({}),
    st.builds(lambda said: {"waiting": said}, st.dictionaries(st.sampled_from(["reason", "message"]), st.text())),
    st.builds(lambda code: {"terminated": {"exitCode": code}}, st.integers(0, 255)),
    st.just({"running": {}}),
)
STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "conditions": CONDITIONS,
        "reason": st.text(max_size=5),
        "containerStatuses": st.lists(
            st.builds(
                lambda name, state: {"name": name, "image": "i", "state": state},
                st.sampled_from(["main", "proxy"]),
                STATES,
            ),
            max_size=2,
        ),
    },
)
PODS = st.lists(
    st.builds(
        lambda at, status: {"metadata": {"creationTimestamp": at}, "spec": SPEC, "status": status},
        st.sampled_from(["2024-05-01T00:00:00Z", "2024-05-01T00:00:01Z"]),
        STATUSES,
    ),
    max_size=3,
)


@given(CONDITIONS, PODS)
def test_whatever_the_server_says_there_is_one_answer(conditions: list[Json], pods: list[Json]) -> None:
    of = job(*conditions)
    one = judge("p", of, pods)
    over = {c["type"] for c in conditions if c["status"] == "True"} & {"Complete", "Failed"}
    assert (one.state == "running") == (not over)
    assert one.state in ("running", "succeeded", "failed", "preempted")
    if one.state == "running":
        assert one.exit_code is None
    if one.state == "failed":
        assert one.exit_code is not None or one.reason
    last = newest(pods)
    assert (last is None) == (not pods)
    assert last is None or isinstance(has_ended(last), bool)
