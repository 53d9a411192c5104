"""Files of a complete run that both trainings and imports write."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from shared import layout
from shared.domain.ensemble import Member
from shared.domain.records import SCHEMA
from shared.ports import Objects


def put_member(
    objects: Objects, run: str, member: Member, *, classes: int, taxonomy: str, labels: Sequence[int] = ()
) -> None:
    """Write member.yaml: the member, its number of classes and the fingerprint of their order.

    `labels`: the class indexes that it has learnt, of a multilabel dataset.

    What is symbolic in the member (mean and deviation) is filled in by trainings; of an import, by who loads it.
    """
    document = {
        "schema": SCHEMA,
        "run": run,
        "classes": classes,
        "taxonomy": taxonomy,
        **({"labels": list(labels)} if labels else {}),
        "member": asdict(member),
    }
    objects.put(layout.run_file(run, "member.yaml"), to_yaml(document))


def read_labels(objects: Objects, run: str) -> tuple[int, ...]:
    """The class indexes that a member of a multilabel dataset has learnt, as `put_member` wrote them."""
    return tuple(yaml.safe_load(objects.read(layout.run_file(run, "member.yaml"))).get("labels", ()))


def put_manifest(objects: Objects, run: str, *, attempt: int, steps: int, files: Sequence[str]) -> None:
    """Write manifest.json, the last file of a run: its presence says that the run is complete."""
    manifest = {"schema": SCHEMA, "run": run, "attempt": attempt, "steps": steps, "files": list(files)}
    objects.put(layout.run_file(run, "manifest.json"), json.dumps(manifest).encode())


def to_yaml(document: Mapping[str, Any]) -> bytes:
    """A document with its keys in their order, sequences as lists."""
    return yaml.safe_dump(_lists(document), sort_keys=False, allow_unicode=True).encode()


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(v) for key, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, tuple | list) else value
