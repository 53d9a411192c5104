"""The keys of a member that only multilabel ensembles have, and `features`: read with checks that name the line.

```yaml
labels: all                                                                 # or those of so many training products:
labels: {least: 500, most: 99999}                                           # either or both
class_weights: balanced                                                     # or none
sampling: balanced                                                          # or uniform
features: stored                                                            # or computed
```
"""

from collections.abc import Mapping
from typing import Any

from shared import head_keys
from shared.domain.ensemble import LabelRange, Member, Task
from shared.yaml_nodes import Value

_OF_LABELS = ("labels", "class_weights", "sampling")
_USUAL = (LabelRange(), "none", "uniform")


def check_task(member: Member, task: Task, place: Value) -> None:
    """Refuse what only the members of multilabel ensembles have, and what they have not."""
    asked = (member.labels, member.class_weights, member.sampling)
    for key, value, usual in zip(_OF_LABELS, asked, _USUAL, strict=True):
        if task != "multilabel" and value != usual:
            raise place.error(f"'{key}' is of label sets", "leave it out, or say task: multilabel")
    if task == "multilabel" and member.levels:
        raise place.error("'levels' is of one category per product", "leave it out, or say task: multiclass")


def labels(value: Value) -> LabelRange:
    """The labels that a member learns."""
    if not value.is_mapping:
        value.choice(("all",))
        return LabelRange()
    keys = value.mapping(("least", "most"))
    found = LabelRange(**{key: number.integer(1, 2**31) for key, number in keys.items()})
    if found.most and found.most < found.least:
        raise value.error("no number is between these two", "write {least: 500}, {most: 499}, or a range")
    return found


def features(keys: Mapping[str, Value]) -> Any:
    """Whether features are stored, which asks for other keys of the same member."""
    found = keys["features"].choice(("computed", "stored"))
    head = head_keys.head(keys["head"])
    fits = head_keys.trains(keys["trains"]) == ("head",) and head.kind in ("average", "max") and not head.batch_norm
    if found == "stored" and not (fits and not keys["augment"].items()):
        reason = "stored features are those of a frozen backbone, pooled, of pictures that are never changed"
        raise keys["features"].error(reason, "add trains: head, head: average or max without batch_norm, augment: []")
    return found
