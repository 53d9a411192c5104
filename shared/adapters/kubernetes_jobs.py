"""The launcher on a cluster: one Kubernetes Job per process, polled and never watched.

A Job starts its pod again where that was ended from outside, also while no launcher is there; this counts as one
process. A Job that someone deletes is an unknown name once its pod has gone, so that two pods never share a name.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.adapters.job_states import Described, has_ended, judge, newest
from shared.adapters.job_templates import TRUE_NAME, job_name, read_templates
from shared.adapters.kubernetes_api import KubernetesApi, Query, said
from shared.domain.errors import BadInputError, StoreUnavailableError
from shared.ports import Clock, Launched

log = logging.getLogger(__name__)

_TAIL_BYTES = 4096
_TAIL_LINES = 100
_LOG_BYTES = 2**20  # bounds memory where lines are very long
_ENDING_SECONDS = 20.0  # less than a lease: another launcher need not take over while this one waits
_LOOK_SECONDS = 0.5
_REFUSED = (400, 403, 404, 422)  # of a manifest; what the launcher itself may not do is told apart


class KubernetesLauncher:
    """The Launcher port over the Jobs of one namespace."""

    def __init__(
        self,
        templates: Path,
        *,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`templates` holds a manifest per module. Raises BadInputError for templates and configuration."""
        self._templates = read_templates(templates)
        self._api = KubernetesApi()
        self._jobs = f"/apis/batch/v1/namespaces/{self._templates.namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{self._templates.namespace}/pods"
        marks = self._templates.marks.items()
        self._ours: Query = [("labelSelector", ",".join(f"{label}={value}" for label, value in marks))]
        self._clock = clock
        self._sleep = sleep
        self._tails: dict[str, str] = {}  # by the pod's uid

    def check(self) -> None:
        """Raise StoreUnavailableError while the API server does not answer."""
        self._api.request("GET", self._jobs, [("limit", "1")])

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        """Start `-m ARGUMENTS...` by the module's template under `name`; one that was launched already stays.

        Raises BadInputError for a missing template and for one that the server refuses.
        """
        template = self._templates.of(arguments[0])
        status, answer = self._api.request(
            "POST", self._jobs, body=template.filled(name, arguments), accept=(409, *_REFUSED)
        )
        if status == 409:
            self._compare(name)
        elif status in _REFUSED:
            raise BadInputError(str(template.file), said(answer), remedy="correct the chart's values")

    def status(self) -> dict[str, Launched]:
        """What became of every name that was launched and not deleted."""
        # Jobs first: pods that are newer than their Job's state only delay the news
        jobs = [job for job in self._api.items(self._jobs, self._ours) if not _is_deleted(job)]
        pods: dict[str, list[Described]] = defaultdict(list)
        for pod in self._api.items(self._pods, self._ours):
            pods[_owner(pod)].append(pod)
        tails: dict[str, str] = {}
        found: dict[str, Launched] = {}
        for job in jobs:
            mine = pods.pop(job["metadata"]["uid"], [])
            one = judge(_name(job), job, mine)
            last = newest(mine)
            if one.state != "running" and last is not None:
                uid = last["metadata"]["uid"]
                tails[uid] = self._tails[uid] if uid in self._tails else self._tail(last)
                one = replace(one, log_tail=tails[uid])
            found[one.name] = one
        for pod in (pod for left in pods.values() for pod in left if not has_ended(pod)):
            found.setdefault(_name(pod), Launched(_name(pod), "running", reason="ending: its Job was deleted"))
        self._tails = tails
        return found

    def delete(self, name: str) -> None:
        """Forget a name, ending its pod first if it runs; not being there is fine.

        A pod that does not end in time, for instance on a dead node, is left to the cluster.
        """
        path = f"{self._jobs}/{job_name(name)}"
        status, _ = self._api.request("DELETE", path, [("propagationPolicy", "Background")], accept=(404,))
        if status == 404:
            return
        deadline = self._clock() + _ENDING_SECONDS
        while any(True for _ in self._running(name)):
            if self._clock() >= deadline:
                log.warning("the pod of %s is still ending", name)
                return
            self._sleep(_LOOK_SECONDS)

    def _running(self, name: str) -> Iterator[Described]:
        selector = [("labelSelector", f"batch.kubernetes.io/job-name={job_name(name)}")]
        return (pod for pod in self._api.items(self._pods, selector) if not has_ended(pod))

    def _compare(self, name: str) -> None:
        """There is such a Job: the one that was launched, one on its way out, or another's."""
        job = job_name(name)
        status, answer = self._api.request("GET", f"{self._jobs}/{job}", accept=(404,))
        there: dict[str, Any] = json.loads(answer)
        if status == 404 or _is_deleted(there):
            raise StoreUnavailableError(f"the last Job {job} is still being deleted")
        labels = there["metadata"].get("labels", {})
        ours = self._templates.marks.items() <= labels.items()
        if not ours or there["metadata"].get("annotations", {}).get(TRUE_NAME) != name:
            reason = "it is there, and no launcher of this installation has made it"
            raise BadInputError(f"Job {job}", reason, remedy="delete it, or give it another name")

    def _tail(self, pod: Described) -> str:
        """The last lines of a pod that has ended; empty where they are gone with its node."""
        query = [
            ("container", pod["spec"]["containers"][0]["name"]),
            ("tailLines", str(_TAIL_LINES)),
            ("limitBytes", str(_LOG_BYTES)),
        ]
        path = f"{self._pods}/{pod['metadata']['name']}/log"
        status, answer = self._api.request("GET", path, query, accept=range(400, 600))
        return answer[-_TAIL_BYTES:].decode(errors="replace").strip() if status == 200 else ""


def _name(described: Described) -> str:
    metadata = described["metadata"]
    return str(metadata.get("annotations", {}).get(TRUE_NAME, metadata["name"]))


def _owner(pod: Described) -> str:
    """The uid of its Job."""
    return next((str(owner["uid"]) for owner in pod["metadata"].get("ownerReferences", ())), "")


def _is_deleted(described: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in described["metadata"]
