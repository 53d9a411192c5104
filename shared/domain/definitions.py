"""What ids are digests of: everything that decides a run's weights, or what an ensemble file says.

Settings that came after the first release are left out at their defaults, so that they change no id.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from shared.domain.digests import digest
from shared.domain.ensemble import Augmentation, Ensemble, Member, Schedule
from shared.domain.product_images import EACH_IMAGE

TRAINING_VERSION, JOINT_TRAINING_VERSION = 1, 2
"""Each raised only when equal inputs would give other weights: of members that answer for images, and of joint ones."""

_FIRST_OF_SCHEDULE = ("kind", "rates", "rate", "floor", "warmup")


def run_definition(member: Member, *, dataset: str, taxonomy: str, parent: str) -> dict[str, Any]:
    """What a run's id is the digest of: `dataset` and `taxonomy` are fingerprints, `parent` the run it starts from."""
    resolved = _of_member(member)
    del resolved["name"]
    if member.init.kind == "member":
        resolved["init"]["name"] = ""  # names in a file never count: `parent` says which weights these are
    return {
        "training_version": TRAINING_VERSION if member.joint == EACH_IMAGE else JOINT_TRAINING_VERSION,
        "member": resolved,
        "dataset": dataset,
        "taxonomy": taxonomy,
        "parent": parent,
    }


def run_id(definition: Mapping[str, Any]) -> str:
    """A run's id: 16 hex digits."""
    return digest(definition)


def ensemble_definition(ensemble: Ensemble) -> list[Any]:
    """What a digest of the file is made over: as `plain`, but of members only what `run_definition` keeps.

    The order of combinations counts, since the last is the default.
    """
    members = {name: _of_member(member) for name, member in ensemble.members.items()}
    plain = ensemble.plain()
    for axis in ("views", "members", "images"):
        if not plain["means"][axis]["votes"]:  # it came after the first release
            del plain["means"][axis]["votes"]
    return [{**plain, "members": members}, list(ensemble.combinations)]


def _of_member(member: Member) -> dict[str, Any]:
    resolved = {key: value for key, value in asdict(member).items() if _says(member, key)}
    resolved["schedule"] = {key: value for key, value in resolved["schedule"].items() if _says(member.schedule, key)}
    if not member.head.hidden and "head" in resolved:
        del resolved["head"]["hidden"]  # it came after the other keys
    resolved["augment"] = [a.name if _is_bare(a) else asdict(a) for a in member.augment]
    return resolved


def _says(record: Member | Schedule, key: str) -> bool:
    item = next(item for item in fields(record) if item.name == key)
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return key in _FIRST_OF_SCHEDULE or bool(getattr(record, key) != default)


def _is_bare(augmentation: Augmentation) -> bool:
    return augmentation == Augmentation(augmentation.name)
