"""What the chart makes: safe pods, rights, probes, Jobs, pools, monitoring."""

from pathlib import Path

import yaml

from shared.wiring import COMPUTING
from tests.chart.rendered import (
    CHART,
    environment,
    every_case,
    find,
    jobs,
    manifests,
    pods,
    rendered,
    settings,
)

COMPONENTS = {"gateway", "dispatcher", "launcher", "training", "ingest", "test"}
STORES = {"mongodb", "redis", "minio"}


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
    assert {"name": "SHELVER_TRAINING_PROCESSES", "value": "1"} in pod.container["env"]


@every_case
def test_what_computes_has_the_variables_of_processes_of_one_machine(case: str) -> None:
    computing = [pod for pod in pods(rendered(case)) if pod.component.startswith(("training", "worker-"))]
    assert len(computing) > 1
    for pod in computing:
        variables = environment(rendered(case), pod)
        assert COMPUTING.items() <= variables.items()


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
