"""Values: versions, refusals, every setting, secrets, notes."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.adapters.job_templates import read_templates
from shared.settings import Settings
from tests.chart.rendered import (
    CHART,
    KUBERNETES,
    VALUES,
    environment,
    every_case,
    find,
    helm,
    manifests,
    pods,
    rendered,
    settings,
    template,
)

PLACED = {
    "home", "catalog", "objects", "queue", "s3.endpoint", "s3.region", "s3.ca_file", "s3.credentials_file",
    "worker.pool", "worker.ensemble", "worker.liveness_file", "gateway.host", "gateway.port", "gateway.admin_key",
    "telemetry.host", "telemetry.port", "launcher.templates",
    "training.processes",
}  # fmt: skip
"""Settings that are no values: the chart knows them itself, or has them from `external`, `pools` and Secrets."""
OTHERWISE = {
    "telemetry.log_format": "json",  # read by machines
    "launcher.poll_seconds": 10,  # of the API server
    "launcher.concurrent_runs": 16,  # on many machines
}


def test_lint_finds_nothing() -> None:
    done = helm("lint", str(CHART), "--strict", KUBERNETES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions_are_those_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["version"]}"\n' in project
    assert chart["appVersion"] == chart["version"]
    for image in ("service", "worker"):
        assert VALUES["images"][image] == f"shelver-{image}:{chart['version']}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("gateway.replica=3", "'/gateway': additional properties 'replica' not allowed"),
        ("settings.leases.lease_second=3", "'/settings/leases': additional properties 'lease_second' not allowed"),
        ("pools[0].name=Fast Lane", "'/pools/0/name'"),
        ("external.catalog.port=mongo", "'/external/catalog/port': got string, want integer"),
        ("images.worker=registry.example.com/shelver-worker:latest", "'/images/worker'"),
        ("images.worker=registry.example.com:5000/shelver-worker", "'/images/worker'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(value: str, words: str) -> None:
    done = template(value)
    assert done.returncode != 0
    assert words in done.stderr


def test_every_setting_is_a_value_or_has_its_place() -> None:
    code: dict[str, Any] = {}
    for group in fields(Settings):
        value = getattr(Settings(), group.name)
        inner = fields(value) if hasattr(value, "__dataclass_fields__") else ()
        code |= {f"{group.name}.{one.name}": getattr(value, one.name) for one in inner} or {group.name: value}
    values = {f"{group}.{name}": value for group, of in VALUES["settings"].items() for name, value in of.items()}
    assert set(code) - set(values) == PLACED
    assert set(values) <= set(code)
    assert {name: value for name, value in values.items() if value != code[name]} == OTHERWISE


@every_case
def test_every_process_takes_its_settings(case: str) -> None:
    found = rendered(case)
    read = {pod.component: settings(found, pod) for pod in pods(found) if pod.ours}
    for component, one in read.items():
        assert one.objects.startswith("s3://"), component
        assert one.leases == Settings().leases
        assert one.ingest == Settings().ingest
        assert bool(one.catalog) == (component != "training")
        assert bool(one.queue) == (component not in ("training", "ingest", "launcher"))
        assert bool(one.gateway.admin_key) == (component == "gateway")
        assert bool(one.launcher.templates) == (component == "launcher")
    assert read["gateway"].gateway.host == "0.0.0.0"
    if case != "external" and case != "defaults":
        assert read["worker-interactive"].worker.ensemble == "grocery-small"
        assert read["worker-batch"].worker.pool == "batch"


@every_case
def test_the_launcher_takes_the_job_templates(case: str, tmp_path: Path) -> None:
    found = rendered(case)
    (pod,) = (pod for pod in pods(found) if pod.component == "launcher")
    assert settings(found, pod).launcher.templates in {one["mountPath"] for one in pod.container["volumeMounts"]}
    for name, content in find(found, "ConfigMap", "shop-shelver-jobs")["data"].items():
        (tmp_path / name).write_text(content)
    templates = read_templates(tmp_path)
    assert templates.namespace == "shelver"
    for module in ("workers.training", "services.ingest"):
        job = templates.of(module).filled("p", [module, "--run", "r"])
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert [*container["command"], *container["args"]] == ["python", "-m", module, "--run", "r"]


def test_a_setting_that_is_given_arrives() -> None:
    found = manifests(
        "settings.scoring.batch_images=64", "settings.s3.path_style=false", "settings.leases.poll_seconds=0.5"
    )
    read = settings(found, next(pod for pod in pods(found) if pod.ours))
    assert read.scoring.batch_images == 64
    assert not read.s3.path_style
    assert read.leases.poll_seconds == 0.5


@pytest.mark.parametrize(("gpus", "processes"), [(0, 1), (1, 1), (4, 4)])
def test_a_training_has_a_process_for_each_gpu(gpus: int, processes: int) -> None:
    found = manifests(f"jobs.training.gpu.count={gpus}")
    (pod,) = (pod for pod in pods(found) if pod.component == "training")
    assert settings(found, pod).training.processes == processes


def test_secrets_are_made_for_trials_and_named_for_production() -> None:
    first, second = manifests(), manifests()
    made = {one["metadata"]["name"]: one["stringData"] for one in first if one["kind"] == "Secret"}
    assert set(made) == {"shop-shelver-admin-key", "shop-shelver-minio"}
    assert made != {one["metadata"]["name"]: one["stringData"] for one in second if one["kind"] == "Secret"}
    passwords = {made["shop-shelver-admin-key"]["admin-key"], made["shop-shelver-minio"]["MINIO_ROOT_PASSWORD"]}
    assert all(len(one) == 40 for one in passwords)
    assert not [one for one in first if one["kind"] != "Secret" and any(word in yaml.dump(one) for word in passwords)]

    found = rendered("external")
    assert not [one for one in found if one["kind"] in ("Secret", "StatefulSet")]
    named = {"SHELVER_CATALOG": "stores", "SHELVER_QUEUE": "stores", "SHELVER_GATEWAY_ADMIN_KEY": "first-key"}
    for pod in pods(found):
        sources = {one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in _from_secrets(pod.container)}
        assert sources.items() <= (named | {"SHELVER_KEY": "first-key"}).items()
        (volume,) = (one for one in pod.spec["volumes"] if "secret" in one)
        assert volume["secret"] == {"secretName": "bucket", "defaultMode": 0o440}
        given = environment(found, pod)
        assert given["SHELVER_S3_CREDENTIALS_FILE"] == "/etc/shelver/objects/credentials"
        assert given["SHELVER_S3_CA_FILE"] == "/etc/shelver/objects/ca.crt"
        assert given["SHELVER_S3_ENDPOINT"] == "https://s3.example.com"


def _from_secrets(container: Any) -> list[Any]:
    return [one for one in container.get("env", []) if "valueFrom" in one]


def test_pods_are_made_anew_when_settings_change() -> None:
    def checksums(*values: str) -> set[str]:
        found = [one for one in manifests(*values) if one["kind"] == "Deployment"]
        return {one["spec"]["template"]["metadata"]["annotations"]["checksum/settings"] for one in found}

    assert len(checksums() | checksums("settings.leases.lease_seconds=31")) == 2


def test_notes_warn_of_trial_stores_and_name_the_key(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "shelver")  # Helm shows notes only of what it installs
    notes = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "_notes.tpl").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}')
    (copy / "templates" / "notes.yaml").write_text('notes: {{ include "notes" . | quote }}')
    done = helm("template", "shop", str(copy), "--namespace=shelver", KUBERNETES, "--show-only=templates/notes.yaml")
    assert done.returncode == 0, done.stderr
    notes = yaml.safe_load(done.stdout)["notes"]
    assert notes.count("WARNING") == 3
    assert "helm test shop --namespace shelver --logs" in notes
    key = "get secret shop-shelver-admin-key --output go-template='{{index .data \"admin-key\" | base64decode}}'"
    assert key in notes
