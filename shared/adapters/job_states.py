"""What a Job and its pods, as the API server describes them, say of a process."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.ports import Launched

Described = Mapping[str, Any]
"""A Job or a pod as JSON."""

_PREEMPTED = 143  # the exit code by which a process says that it was asked to go
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")


def newest(pods: Iterable[Described]) -> Described | None:
    """The pod that was made last; a Job makes another one when one has ended before its time."""
    return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def has_ended(pod: Described) -> bool:
    """Whether nothing of a pod runs any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def judge(name: str, job: Described, pods: Sequence[Described]) -> Launched:
    """The process `name` of a Job, without its last lines. As long as the Job may start another pod, it runs."""
    pod = newest(pods)
    conditions = _conditions(job)
    if "Complete" in conditions:
        return Launched(name, "succeeded", 0)
    if "Failed" not in conditions:
        return Launched(name, "running", reason=_waiting(job, pod))
    code, why = (None, "") if pod is None else (_exit_code(pod), _end(pod))
    failed = conditions["Failed"]
    if failed.get("reason") == "DeadlineExceeded":  # the Job itself has ended the pod
        return Launched(name, "failed", code, reason="it ran longer than its Job's activeDeadlineSeconds")
    if pod is not None and (code == _PREEMPTED or "DisruptionTarget" in _conditions(pod)):
        return Launched(name, "preempted", code, reason=why)
    if code is None:
        return Launched(name, "failed", reason=why or failed.get("message") or "its Job failed")
    return Launched(name, "failed", code, reason=f"exit code {code}: {why}" if why else "")


def _waiting(job: Described, pod: Described | None) -> str:
    """Why nothing runs at the moment; empty where something does."""
    if pod is None:
        if job["spec"].get("suspend"):
            return f"waiting: its Job is suspended; {_conditions(job).get('Suspended', {}).get('message', '')}"
        return f"waiting: no pod yet; `kubectl describe job {job['metadata']['name']}` tells why if it stays so"
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        return f"starting again: {_end(pod) or f'exit code {_exit_code(pod)}'}"
    if status.get("phase") != "Pending":
        return ""
    for one in status.get("conditions", ()):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            words = one.get("message") or one.get("reason", "for a node")
            return f"waiting: {words.partition('. ')[0].removesuffix('.')}"  # then what preemption would not help
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waits = container.get("state", {}).get("waiting")
        if waits is None:
            continue
        if waits.get("reason") in _NO_IMAGE:
            return (
                f"waiting: the image {container['image']} cannot be pulled: {waits.get('message') or waits['reason']}"
            )
        return ": ".join(["waiting", *(waits[part] for part in ("reason", "message") if waits.get(part))])
    return "waiting: its node starts it"


def _end(pod: Described) -> str:
    """Why a pod ended, where something else than its program knows; else empty."""
    terminated = _terminated(pod)
    if terminated.get("reason") == "OOMKilled":
        limit = _container(pod).get("resources", {}).get("limits", {}).get("memory", "the node's memory")
        return f"out of memory: it needs more than its limit of {limit} (OOMKilled)"
    disruption = _conditions(pod).get("DisruptionTarget")
    if disruption is not None:
        return f"ended from outside: {disruption.get('message') or disruption.get('reason', 'a disruption')}"
    status = pod.get("status", {})
    return ": ".join(status[part] for part in ("reason", "message") if status.get(part))


def _exit_code(pod: Described) -> int | None:
    return _terminated(pod).get("exitCode")


def _terminated(pod: Described) -> Described:
    name = _container(pod)["name"]
    for container in pod.get("status", {}).get("containerStatuses", ()):
        if container["name"] == name:
            found: Described = container.get("state", {}).get("terminated") or {}
            return found
    return {}


def _container(pod: Described) -> Described:
    """The container whose process it is: the first, as in the template; others are the cluster's."""
    found: Described = pod["spec"]["containers"][0]
    return found


def _conditions(described: Described) -> dict[str, Described]:
    """What is true of a Job or pod, by type."""
    conditions = described.get("status", {}).get("conditions") or ()
    return {one["type"]: one for one in conditions if one["status"] == "True"}
