"""Job manifests as a cluster's chart wrote them, filled in for one process each.

Images, resources, policies and deadlines are the chart's; name, labels and arguments are the launcher's.
"""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shared.domain.errors import BadInputError

MANAGED_BY = {"app.kubernetes.io/managed-by": "shelver-launcher"}
"""The label by which launchers know their Jobs and pods."""
INSTANCE = "app.kubernetes.io/instance"
"""The label with the installation's name, where the templates have it: several may share a namespace."""
TRUE_NAME = "shelver/name"
"""The annotation with the process's name, which need not be a valid name of a Job."""
_COMPONENT = "app.kubernetes.io/component"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # of DNS
_LIKENESS = 46  # characters of such a label before a dash and 16 digits
_REMEDY = "mount the Job templates of the chart there"


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """One manifest and the file that holds it."""

    file: Path
    manifest: Mapping[str, Any]

    @property
    def marks(self) -> dict[str, str]:
        """The labels that its Jobs share with those of no other installation."""
        instance = self.manifest["metadata"].get("labels", {}).get(INSTANCE)
        return {**MANAGED_BY, **({INSTANCE: instance} if instance else {})}

    def filled(self, name: str, arguments: Sequence[str]) -> dict[str, Any]:
        """The manifest of the process `name`: its command followed by `-m ARGUMENTS...`."""
        job = copy.deepcopy(dict(self.manifest))
        job["metadata"]["name"] = job_name(name)
        for marked in (job, job["spec"]["template"]):
            metadata = marked.setdefault("metadata", {})
            metadata["labels"] = {**metadata.get("labels", {}), **self.marks, _COMPONENT: self.file.stem}
            metadata["annotations"] = {**metadata.get("annotations", {}), TRUE_NAME: name}
        container = job["spec"]["template"]["spec"]["containers"][0]
        container["args"] = [*container.get("args", []), "-m", *arguments]
        return job


@dataclass(frozen=True, slots=True)
class JobTemplates:
    """The templates of a folder, all of one installation: TRAINING.yaml starts the module workers.training."""

    folder: Path
    namespace: str
    marks: Mapping[str, str]  # labels of all their Jobs
    by_module: Mapping[str, JobTemplate]

    def of(self, module: str) -> JobTemplate:
        """The template for a module. Raises BadInputError where there is none."""
        name = module.rpartition(".")[2]
        if name not in self.by_module:
            raise BadInputError(str(self.folder / f"{name}.yaml"), "there is no such file", remedy=_REMEDY)
        return self.by_module[name]


def read_templates(folder: Path) -> JobTemplates:
    """The templates `folder/*.yaml`. Raises BadInputError for what is no Job, and where there are none."""
    found = {file.stem: JobTemplate(file, _manifest(file)) for file in sorted(folder.glob("*.yaml"))}
    if not found:
        raise BadInputError(str(folder), "it holds no Job template (*.yaml)", remedy=_REMEDY)
    namespaces = {template.manifest["metadata"]["namespace"] for template in found.values()}
    if len(namespaces) > 1:
        reason = f"its templates are of several namespaces ({', '.join(sorted(namespaces))})"
        raise BadInputError(str(folder), reason, remedy="give all of them one metadata.namespace")
    marks = [template.marks for template in found.values()]
    if any(other != marks[0] for other in marks):
        raise BadInputError(
            str(folder), "its templates differ in their label", remedy=f"give all of them one {INSTANCE}"
        )
    return JobTemplates(folder, namespaces.pop(), marks[0], found)


def job_name(name: str) -> str:
    """`name` where Kubernetes takes it; else something like it with a digest, so that no two become one."""
    if _LABEL.fullmatch(name):
        return name
    likeness = re.sub("[^a-z0-9]+", "-", name.lower())[:_LIKENESS].strip("-")
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{likeness}-{digest}" if likeness else digest


def _manifest(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text())
        parts = [found["apiVersion"], found["kind"], found["metadata"]["namespace"]]
        container = found["spec"]["template"]["spec"]["containers"][0]
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(str(file), f"it cannot be read: {reason}", remedy=_REMEDY) from None
    except (LookupError, TypeError):
        reason = "apiVersion, kind, metadata.namespace or spec.template.spec.containers is missing"
        raise BadInputError(str(file), reason, remedy="write the whole manifest of a Job") from None
    if parts[:2] != ["batch/v1", "Job"] or not isinstance(container, dict) or not isinstance(parts[2], str):
        raise BadInputError(str(file), "it is no Job of batch/v1", remedy="write the whole manifest of a Job")
    return dict(found)
