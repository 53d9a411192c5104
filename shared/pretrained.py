"""Initial weights that lie in the object store: what `init: imagenet` starts from where there is no internet."""

from collections.abc import Iterator
from hashlib import sha256

from shared import layout
from shared.domain.ensemble_rules import nearest
from shared.domain.errors import BadInputError, ConflictError
from shared.dumps import Dump, blocks
from shared.ensemble_file import architectures
from shared.ports import Objects
from shared.weights import Shapes, read_shapes

_PREFIX, _SUFFIX = layout.pretrained("").split(".")


def check(model: str, name: str, dump: Dump) -> Shapes:
    """The tensors of a file for this timm network. Raises BadInputError."""
    if model not in architectures():
        raise BadInputError(model, "timm knows no such network", remedy=nearest(model, architectures()))
    return read_shapes(name, dump)


def add(objects: Objects, model: str, name: str, dump: Dump) -> bool:
    """Store the weights of a network; False where the same ones are there already.

    Raises ConflictError where others are: a run's id says `imagenet`, not which bytes that was. Raises BadInputError.
    """
    key = layout.pretrained(model)
    if objects.exists(key):
        if _digest(blocks(name, dump)) == _digest(_stored(objects, key)):
            return False
        raise ConflictError(f"there are other weights at {key}, and runs may have begun with them; use another store")
    objects.put(key, blocks(name, dump))
    return True


def models(objects: Objects) -> dict[str, int]:
    """The networks that there are weights for, and the bytes of these."""
    keys = [key for key in objects.list(_PREFIX) if key.endswith(f".{_SUFFIX}")]
    return {key.removeprefix(_PREFIX).removesuffix(f".{_SUFFIX}"): objects.size(key) for key in keys}


def _stored(objects: Objects, key: str) -> Iterator[bytes]:
    with objects.open(key) as stream:
        while block := stream.read(2**22):
            yield block


def _digest(content: Iterator[bytes]) -> str:
    hashed = sha256()
    for block in content:
        hashed.update(block)
    return hashed.hexdigest()
