"""How people name a run."""

from collections.abc import Collection, Iterable, Mapping

from shared.domain.errors import BadInputError, NotFoundError


def find(known: Collection[str], trainings: Iterable[Mapping[str, str]], name: str) -> str:
    """The run of an id, of the start of one, or the newest training's member of that name.

    `trainings`: member -> run, the newest first. Raises NotFoundError, and BadInputError where several are meant.
    """
    if name in known:
        return name
    member = next((runs[name] for runs in trainings if name in runs), "")
    meant = {run for run in known if run.startswith(name) or run == member}
    if not meant:
        raise NotFoundError(f"there is no run '{name}'; see `shelver runs`")
    if len(meant) > 1:
        several = ", ".join(sorted(meant)[:3]) + (" and more" if len(meant) > 3 else "")
        raise BadInputError(f"run '{name}'", f"it may be {several}", remedy="give more of the id")
    return meant.pop()
