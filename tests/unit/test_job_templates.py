import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.job_templates import MANAGED_BY, job_name, read_templates
from shared.domain.errors import BadInputError

TEMPLATE = """
apiVersion: batch/v1
kind: Job
metadata: {namespace: shop, labels: {team: vision}}
spec:
  backoffLimit: 3
  template:
    spec: {containers: [{name: training, image: worker, command: [tini, --], args: [python]}, {name: other}]}
"""


@pytest.mark.parametrize("name", ["train-0123456789abcdef-12", "ingest-grocery-0", "p", "x" * 63])
def test_a_valid_name_stays(name: str) -> None:
    assert job_name(name) == name


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("ingest-My.Shop_2024-0", "ingest-my-shop-2024-0-[0-9a-f]{16}"),
        ("ingest-" + "x" * 64 + "-0", "ingest-x{39}-[0-9a-f]{16}"),
        ("...", "[0-9a-f]{16}"),
    ],
)
def test_another_name_becomes_one_like_it(name: str, like: str) -> None:
    assert re.fullmatch(like, job_name(name))


@given(st.sets(st.text("aB.-_0", min_size=1, max_size=80), max_size=20))
def test_every_name_becomes_a_valid_one_of_its_own(names: set[str]) -> None:
    made = {job_name(name) for name in names}
    assert len(made) == len(names)
    assert all(re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in made)


def test_a_template_is_filled_in_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(TEMPLATE)
    templates = read_templates(tmp_path)
    assert templates.namespace == "shop"
    template = templates.of("workers.training")
    job = template.filled("train-A", ["workers.training", "--run", "a"])
    assert re.fullmatch("train-a-[0-9a-f]{16}", job["metadata"]["name"])
    labels = {"app.kubernetes.io/managed-by": "shelver-launcher", "app.kubernetes.io/component": "training"}
    assert job["metadata"]["labels"] == labels | {"team": "vision"}
    assert job["spec"]["template"]["metadata"] == {"labels": labels, "annotations": {"shelver/name": "train-A"}}
    assert job["metadata"]["annotations"] == {"shelver/name": "train-A"}
    first, second = job["spec"]["template"]["spec"]["containers"]
    assert first["command"] == ["tini", "--"]
    assert first["args"] == ["python", "-m", "workers.training", "--run", "a"]
    assert second == {"name": "other"}
    assert job["spec"]["backoffLimit"] == 3
    assert template.manifest == yaml.safe_load(TEMPLATE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no Job template"),
        ("a: [", "training.yaml: it cannot be read: while parsing"),
        ("- a", "training.yaml: apiVersion, kind, metadata.namespace or spec.template.spec.containers is missing"),
        ("", "is missing"),
        (TEMPLATE.replace("namespace: shop, ", ""), "metadata.namespace or"),
        (TEMPLATE.replace("Job", "Pod"), "it is no Job of batch/v1"),
        (TEMPLATE.replace("namespace: shop", "namespace: 1"), "it is no Job of batch/v1"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "training.yaml").write_text(content)
    with pytest.raises(BadInputError, match=re.escape(words)):
        read_templates(tmp_path)


def test_templates_are_of_one_namespace_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(TEMPLATE)
    with pytest.raises(BadInputError, match=r"ingest\.yaml: there is no such file; mount the Job templates"):
        read_templates(tmp_path).of("services.ingest")
    (tmp_path / "ingest.yaml").write_text(TEMPLATE.replace("shop", "other"))
    with pytest.raises(BadInputError, match=r"several namespaces \(other, shop\)"):
        read_templates(tmp_path)


def test_templates_are_of_one_installation(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(TEMPLATE.replace("team: vision", "app.kubernetes.io/instance: one"))
    assert read_templates(tmp_path).marks == {**MANAGED_BY, "app.kubernetes.io/instance": "one"}
    (tmp_path / "ingest.yaml").write_text(TEMPLATE)
    with pytest.raises(
        BadInputError, match=r"differ in their label; give all of them one app\.kubernetes\.io/instance"
    ):
        read_templates(tmp_path)
