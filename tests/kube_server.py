"""The few endpoints of an API server that the launcher asks, over objects that a test sets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]


class KubeServer:
    """Jobs and pods of one namespace by name, and what was asked."""

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.logs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.page = 500
        self.faults: dict[str, tuple[int, str]] = {}
        """By method and the path's last part: a status and message instead of the answer."""

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path, query = urlsplit(target).path, {k: v[0] for k, v in parse_qs(urlsplit(target).query).items()}
        self.asked.append(f"{method} {path.partition('/namespaces/')[2]}")
        parts = path.partition("/namespaces/shop/")[2].split("/")
        if fault := self.faults.get(f"{method} {parts[-1]}"):
            return _status(*fault)
        kind, name = parts[0], parts[1] if len(parts) > 1 else ""
        there = self.jobs if kind == "jobs" else self.pods
        if method == "POST":
            job = json.loads(body)
            if job["metadata"]["name"] in self.jobs:
                return _status(409, "AlreadyExists")
            job["metadata"]["uid"] = f"uid-{job['metadata']['name']}-{len(self.asked)}"
            self.jobs[job["metadata"]["name"]] = job
            return 201, json.dumps(job).encode()
        if not name:
            return 200, json.dumps(self._listed(there, query)).encode()
        if name not in there:
            return _status(404, f"{kind} {name} not found")
        if method == "DELETE":
            del there[name]
            return _status(200, "")
        if parts[-1] == "log":
            return 200, self.logs[name]
        return 200, json.dumps(there[name]).encode()

    def _listed(self, there: dict[str, Json], query: dict[str, str]) -> Json:
        wanted = dict(label.split("=") for label in query.get("labelSelector", "").split(",") if label)
        found = [one for one in there.values() if wanted.items() <= one["metadata"].get("labels", {}).items()]
        start, size = int(query.get("continue", 0)), min(self.page, int(query["limit"]))
        following = {"continue": str(start + size)} if start + size < len(found) else {}
        return {"metadata": following, "items": found[start : start + size]}

    def pod(self, job: str, name: str, **status: Any) -> Json:
        """A pod of a Job, with such a status."""
        made = self.jobs[job]
        template = made["spec"]["template"]
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        self.pods[name] = {
            "metadata": {
                **template["metadata"],
                "labels": labels,
                "name": name,
                "uid": f"uid-{name}",
                "creationTimestamp": f"2024-05-01T00:00:{len(self.pods):02}Z",
                "ownerReferences": [{"uid": made["metadata"]["uid"]}],
            },
            "spec": template["spec"],
            "status": status,
        }
        self.logs[name] = f"the log of {name}\n".encode()
        return self.pods[name]

    def end(self, job: str, condition: str, **said: str) -> None:
        """Give a Job its last condition."""
        self.jobs[job]["status"] = {"conditions": [{"type": condition, "status": "True", **said}]}


def ended(name: str, code: int, **said: str) -> Json:
    """The status of a pod whose container has ended."""
    state = {"terminated": {"exitCode": code, **said}}
    phase = "Failed" if code else "Succeeded"
    return {"phase": phase, "containerStatuses": [{"name": name, "image": "i", "state": state}]}


@contextmanager
def serving(kubeconfig: Path) -> Iterator[KubeServer]:
    """A server, and a kubeconfig that names it."""
    server = KubeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = server.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _do  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        named = {"name": "here"}
        config = {
            "current-context": "here",
            "contexts": [named | {"context": {"cluster": "here", "user": "here"}}],
            "clusters": [named | {"cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}],
            "users": [named | {"user": {"token": "secret"}}],
        }
        kubeconfig.write_text(yaml.safe_dump(config))
        yield server
        http.shutdown()


def _status(code: int, message: str) -> tuple[int, bytes]:
    return code, json.dumps({"kind": "Status", "code": code, "message": message}).encode()
