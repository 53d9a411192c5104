"""Which keys objects may have, in every store."""

from shared.domain.errors import BadInputError


def parts(key: str) -> list[str]:
    """The names that '/' joins in `key`. Raises BadInputError for what is no key in every store."""
    names = key.split("/")
    if "\0" in key or any(not name or name.startswith(".") for name in names):
        raise BadInputError(repr(key), "is no object key", remedy="use names without leading dots, joined by '/'")
    return names
