"""Images, and what stands around the chart: pins, names that agree, and documents that name what there is."""

import re
from pathlib import Path

import yaml

from tests.chart.rendered import CHART, VALUES, find, manifests, pods

ROOT = CHART.parents[1]


def documents(name: str) -> dict[str, dict[str, dict[str, str]]]:
    found = yaml.safe_load_all((ROOT / "k8s" / name).read_text())
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def test_images_take_only_what_is_pinned_by_hash_and_run_as_the_charts_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    commands = re.split(r"&&|;", "&&".join(line for line in lines if line.startswith(("ARG UV=", "RUN "))))
    installs = [command for command in commands if re.search(r"(pip install|pip sync|uv build)", command)]
    assert (
        len(installs) == 5
    )  # uv, which the three stages share; Shelver's wheel and itself; what service and worker take
    assert all("--require-hashes" in command or "--no-deps --offline /dist/*.whl" in command for command in installs)
    assert lines.count("USER 10001:10001") == 2
    assert [line.split()[-1] for line in lines if line.startswith("FROM ${BASE}")] == ["shelver", "runtime"]
    assert not [line for line in lines if line.startswith("COPY --from=") and not line.endswith("/opt/shelver")]


def test_the_base_image_has_a_full_version() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.search(r":3\.\d+\.\d+-", base)


def test_development_builds_both_targets_and_gives_them_to_the_chart() -> None:
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    built = {one["image"]: one["docker"]["target"] for one in skaffold["build"]["artifacts"]}
    assert built == {f"shelver-{target}": target for target in VALUES["images"] if target in ("service", "worker")}
    (release,) = skaffold["deploy"]["helm"]["releases"]
    assert set(release["setValueTemplates"]) == {"images.service", "images.worker"}
    values = [f"{name}={value}" for name, value in release["setValues"].items()]
    assert not any("nvidia" in str(pod.container["resources"]) for pod in pods(manifests(*values)))


def test_names_around_the_chart_are_those_that_its_values_take() -> None:
    namespace = documents("namespace.yaml")["Namespace shelver"]["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    classes = documents("priority-classes.yaml")
    assert set(classes) == {f"PriorityClass shelver-{name}" for name in ("serving", "scoring", "training")}
    queues = documents("kueue.yaml")
    assert queues["LocalQueue training"]["metadata"]["namespace"] == namespace["name"]
    assert queues["LocalQueue training"]["spec"]["clusterQueue"] == "shelver"
    assert "ClusterQueue shelver" in queues
    found = manifests("jobs.training.kueueQueue=training", "gateway.priorityClassName=shelver-serving")
    (gateway,) = (pod for pod in pods(found) if pod.component == "gateway")
    assert gateway.spec["priorityClassName"] == "shelver-serving"


def test_values_that_the_documents_show_are_taken(tmp_path: Path) -> None:
    text = (ROOT / "k8s" / "README.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "values.yaml").write_text(shown)
    found = manifests(values_file=tmp_path / "values.yaml")
    assert not [one for one in found if one["kind"] in ("Secret", "StatefulSet")]
    assert find(found, "ConfigMap", "shop-shelver-settings")["data"]["SHELVER_OBJECTS"] == "s3://BUCKET"
    assert set(re.findall(r"create secret generic ([a-z-]+)", text)) == {"stores", "bucket", "first-key"}
    for path in re.findall(r"`((?:worker|jobs|gateway|trial|keda|monitoring)\.[\w.*]+)", text):
        value: object = VALUES
        for name in path.rstrip(".*").split("."):
            value = next(iter(value.values())) if name == "*" else value[name]  # type: ignore[attr-defined,index]
