"""A real Prometheus (Debian's package `prometheus`) that scrapes addresses of this machine, asked over its API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.ports import free_port
from tests.servers import programs
from tests.servers.process import Process

_SECONDS = 30.0  # for it to scrape


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """`data` of an answer; an error of the query fails the test with Prometheus' words."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {_SECONDS:.0f} s: {what}"
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except URLError:
            return False


@contextmanager
def scraping(folder: Path, targets: Mapping[str, str], rules: Path) -> Iterator[Prometheus]:
    """Scrapes each job's HOST:PORT every half second and evaluates the rules every second."""
    program = programs.installed("prometheus", "prometheus")
    config = folder / "prometheus.yml"
    jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    timing = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    config.write_text(yaml.safe_dump({"global": timing, "rule_files": [str(rules)], "scrape_configs": jobs}))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    found = Prometheus(f"http://{address}")
    command.append(f"--web.listen-address={address}")
    process = Process("prometheus", command, folder / "log", ready=found.ready)
    try:
        process.start()
        yield found
    finally:
        process.kill()
