"""Rules of an ensemble file that need no file: ranges of members, the member graph, what an ancestor has seen."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from shared.domain.digests import seed_of
from shared.domain.ensemble import Member, Split

RANGE = "..."


def nearest(name: str, known: Collection[str]) -> str:
    """A suggestion for a name that is not `known`, or nothing."""
    spelled = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.6)
    return f"did you mean '{spelled[close[0]]}'?" if close else ""


def default_seed(member: str) -> int:
    """The seed of a member that names none: equal members under two names are different runs."""
    return int(seed_of("member", member) >> 33)


def expand(names: Sequence[str], members: Sequence[str]) -> tuple[str, ...]:
    """`[M01, ..., M04]` over the file's order of `members`. Raises ValueError with the reason."""
    found: list[str] = []
    for i, name in enumerate(names):
        if name != RANGE:
            found.append(name)
            continue
        if i == 0 or i == len(names) - 1:
            raise ValueError("'...' stands between two members")
        first, last = (members.index(names[j]) if names[j] in members else -1 for j in (i - 1, i + 1))
        if min(first, last) < 0 or last <= first:
            raise ValueError(f"'{names[i + 1]}' does not come after '{names[i - 1]}' among the members")
        found.extend(members[first + 1 : last])
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"the member '{name}' is named twice")
    return tuple(found)


def parents(members: Mapping[str, Member]) -> dict[str, str]:
    """The parent of every member that starts from another."""
    return {name: member.init.name for name, member in members.items() if member.init.kind == "member"}


def cycle(parent_of: Mapping[str, str]) -> tuple[str, ...]:
    """Members that wait for each other, first again at the end; empty where there are none."""
    for start in parent_of:
        chain = [start]
        while (parent := parent_of.get(chain[-1])) is not None:
            if parent in chain:
                return (*chain[chain.index(parent) :], parent)
            chain.append(parent)
    return ()


def ancestors(name: str, parent_of: Mapping[str, str]) -> tuple[str, ...]:
    """Parent, grandparent and so on, nearest first (the graph has no cycle)."""
    chain: list[str] = []
    while (parent := parent_of.get(chain[-1] if chain else name)) is not None:
        chain.append(parent)
    return tuple(chain)


def training_order(members: Mapping[str, Member]) -> tuple[str, ...]:
    """All members, parents before children, otherwise in the file's order."""
    parent_of = parents(members)
    order: list[str] = []
    for name in members:
        order.extend(n for n in (*reversed(ancestors(name, parent_of)), name) if n not in order)
    return tuple(order)


def saw_holdout(name: str, members: Mapping[str, Member]) -> str:
    """The ancestor that may have trained on products of the member's holdout (I10), or nothing."""
    own = members[name].split
    for ancestor in ancestors(name, parents(members)):
        if _partition(members[ancestor].split) != _partition(own):
            return ancestor
    return ""


def _partition(split: Split) -> tuple[int, float, str, float]:
    return split.seed, split.holdout, split.group, split.blend
