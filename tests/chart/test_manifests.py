"""What the chart makes: safe pods, named flows, probes, and settings that every process takes."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.adapters.job_templates import read_templates
from shared.settings import Settings
from tests.chart.rendered import (
    CASES,
    CHART,
    KUBERNETES,
    VALUES,
    environment,
    find,
    helm,
    jobs,
    manifests,
    pods,
    rendered,
    settings,
    template,
)

COMPONENTS = {"gateway", "dispatcher", "launcher", "training", "ingest", "test"}
STORES = {"mongodb", "redis", "minio"}
PLACED = {
    "home", "catalog", "objects", "queue", "s3.endpoint", "s3.region", "s3.ca_file", "s3.credentials_file",
    "worker.pool", "worker.ensemble", "worker.liveness_file", "gateway.host", "gateway.port", "gateway.admin_key",
    "telemetry.host", "telemetry.port", "launcher.templates",
}  # fmt: skip
"""Settings that are no values: the chart knows them itself, or has them from `external`, `pools` and Secrets."""
OTHERWISE = {
    "telemetry.log_format": "json",  # read by machines
    "launcher.poll_seconds": 10,  # of the API server
    "launcher.concurrent_runs": 16,  # on many machines
}

every_case = pytest.mark.parametrize("case", CASES)


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


@every_case
def test_every_pod_is_restricted(case: str) -> None:
    seen = set()
    for pod in pods(rendered(case)):
        seen.add(pod.component)
        of_pod, of_container = pod.spec["securityContext"], pod.container["securityContext"]
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] == of_pod["fsGroup"] == (10001 if pod.ours or pod.component == "minio" else 999)
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod.spec)
        assert {kind for volume in pod.spec["volumes"] for kind in set(volume) - {"name"}} <= {
            "emptyDir", "secret", "configMap",
        }  # fmt: skip
        assert pod.spec["enableServiceLinks"] is False
        assert pod.container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in pod.container["resources"]["limits"]
        assert "/tmp" in {mount["mountPath"] for mount in pod.container["volumeMounts"]}
    workers = {one for one in seen if one.startswith("worker-")}
    assert seen - workers == COMPONENTS | (STORES if "external" not in case and case != "all at once" else set())
    assert len(workers) == (2 if case.startswith(("every", "all")) else 1)


@every_case
def test_only_the_launcher_may_ask_the_api_server(case: str) -> None:
    found = rendered(case)
    for pod in pods(found):
        account = pod.spec["serviceAccountName"]
        assert find(found, "ServiceAccount", account)["automountServiceAccountToken"] is False
        assert pod.spec["automountServiceAccountToken"] == (pod.component == "launcher")
        assert account == ("shop-shelver-launcher" if pod.component == "launcher" else "shop-shelver")
    assert not [one for one in found if one["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    (role,) = (one for one in found if one["kind"] == "Role")
    assert {one: set(rule["verbs"]) for rule in role["rules"] for one in rule["resources"]} == {
        "jobs": {"create", "get", "list", "delete"},
        "pods": {"list"},
        "pods/log": {"get"},
    }
    (binding,) = (one for one in found if one["kind"] == "RoleBinding")
    assert [one["name"] for one in binding["subjects"]] == ["shop-shelver-launcher"]


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


@every_case
def test_whoever_runs_for_long_has_probes(case: str) -> None:
    for pod in pods(rendered(case)):
        if pod.component in ("training", "ingest", "test"):
            continue
        kinds = {kind: pod.container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
        if pod.component.startswith("worker-"):
            commands = {kind: probe["exec"]["command"] for kind, probe in kinds.items()}
            words = {"startup": "started", "liveness": "live", "readiness": "ready"}
            assert commands == {kind: ["python", "-m", "workers.scoring.probe", words[kind]] for kind in kinds}
        elif pod.ours:
            paths = {kind: probe["httpGet"]["path"] for kind, probe in kinds.items()}
            assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        assert (
            ports.items() <= {"http": 8080, "telemetry": 9090, "mongodb": 27017, "redis": 6379, "minio": 9000}.items()
        )


@every_case
def test_nobody_is_ended_before_the_work_at_hand_is(case: str) -> None:
    found = rendered(case)
    grace = {pod.component: pod.spec.get("terminationGracePeriodSeconds", 30) for pod in pods(found)}
    read = settings(found, next(pod for pod in pods(found) if pod.component.startswith("worker-")))
    assert all(s > read.worker.grace_seconds for name, s in grace.items() if name.startswith("worker-"))
    (gateway,) = (pod for pod in pods(found) if pod.component == "gateway")
    assert grace["gateway"] >= gateway.container["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
    assert grace["training"] > 60


def test_a_longer_grace_of_workers_is_a_longer_one_of_pods() -> None:
    (worker,) = (pod for pod in pods(manifests("settings.worker.grace_seconds=600")) if "worker-" in pod.component)
    assert worker.spec["terminationGracePeriodSeconds"] > 600


def test_job_templates_are_as_the_launcher_wants_them() -> None:
    found = rendered("everything")
    assert set(jobs(found)) == {"training.yaml", "ingest.yaml"}
    for job in jobs(found).values():
        spec = job["spec"]
        rules = spec["podFailurePolicy"]["rules"]
        codes = [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules]
        assert codes == [("Ignore", None), ("Ignore", [143]), ("FailJob", [2])]
        assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget"}]
        assert spec["podReplacementPolicy"] == "Failed"
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["template"]["spec"]["containers"][0]["command"] == ["python"]
    training = jobs(found)["training.yaml"]
    assert training["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    (pod,) = (pod for pod in pods(found) if pod.component == "training")
    assert pod.container["resources"]["limits"]["nvidia.com/gpu"] == 1
    (memory,) = (volume for volume in pod.spec["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory")
    assert {"name": memory["name"], "mountPath": "/dev/shm"} in pod.container["volumeMounts"]
    assert pod.container.get("env") is None


def test_a_pool_says_otherwise_than_all_of_them() -> None:
    found = rendered("everything")
    limits = {pod.component: pod.container["resources"]["limits"] for pod in pods(found)}
    assert limits["worker-batch"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in limits["worker-interactive"]
    for name, least in (("batch", 0), ("interactive", 1)):
        scaled = find(found, "ScaledObject", f"shop-shelver-worker-{name}")["spec"]
        assert scaled["scaleTargetRef"] == {"name": f"shop-shelver-worker-{name}"}
        assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (least, 8)
        assert "replicas" not in find(found, "Deployment", f"shop-shelver-worker-{name}")["spec"]
    fixed = find(rendered("defaults"), "Deployment", "shop-shelver-worker-default")["spec"]
    assert fixed["replicas"] == 1
    assert fixed["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_gateway_follows_its_load_only_where_there_is_room() -> None:
    found = rendered("defaults")
    assert find(found, "HorizontalPodAutoscaler", "shop-shelver-gateway")["spec"]["maxReplicas"] == 6
    assert "replicas" not in find(found, "Deployment", "shop-shelver-gateway")["spec"]
    assert find(found, "PodDisruptionBudget", "shop-shelver-gateway")["spec"]["maxUnavailable"] == 1
    assert not [one for one in found if one["kind"] == "Ingress"]
    fixed = manifests("gateway.replicas.max=2")
    assert not [one for one in fixed if one["kind"] == "HorizontalPodAutoscaler"]
    assert find(fixed, "Deployment", "shop-shelver-gateway")["spec"]["replicas"] == 2


@every_case
def test_images_have_a_full_version(case: str) -> None:
    for pod in pods(rendered(case)):
        image = pod.container["image"]
        assert any(letter.isdigit() for letter in image.rpartition("/")[2].partition(":")[2]), image
        assert pod.container["imagePullPolicy"] == "IfNotPresent"


def test_trial_stores_keep_what_they_have_until_they_are_uninstalled() -> None:
    stores = [one["spec"] for one in rendered("defaults") if one["kind"] == "StatefulSet"]
    assert len(stores) == 3
    for spec in stores:
        assert spec["podManagementPolicy"] == "Parallel"
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete"}
        (claim,) = spec["volumeClaimTemplates"]
        mounts = {one["name"] for one in spec["template"]["spec"]["containers"][0]["volumeMounts"]}
        assert claim["metadata"]["name"] in mounts
    in_pods = manifests(*(f"trial.{name}.storage=" for name in ("mongodb", "redis", "minio")))
    assert not any("volumeClaimTemplates" in one["spec"] for one in in_pods if one["kind"] == "StatefulSet")


def test_rules_and_dashboards_are_the_files() -> None:
    found = rendered("everything")
    files = CHART / "files"
    assert find(found, "PrometheusRule", "shop-shelver")["spec"] == yaml.safe_load((files / "alerts.yaml").read_text())
    made = [one for one in found if one["metadata"]["labels"].get("grafana_dashboard")]
    assert {name: text for one in made for name, text in one["data"].items()} == {
        f"shelver-{path.name}": path.read_text() for path in sorted(Path(files / "dashboards").glob("*.json"))
    }


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
