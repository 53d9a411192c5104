"""Stores that die: what stands for the end of a process at any change that it makes."""

from collections.abc import Callable
from typing import Any


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Mortal:
    """A store that dies just before its n-th change."""

    def __init__(self, store: Any, verbs: tuple[str, ...], lives: int) -> None:
        self.store = store
        self.verbs = verbs
        self.lives = lives
        self.put_keys: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self.store, verb)
        if verb not in self.verbs:
            return method

        def change(*arguments: Any, **options: Any) -> Any:
            self.lives -= 1
            if self.lives == 0:
                raise Died
            if verb == "put":
                self.put_keys.append(arguments[0])
            return method(*arguments, **options)

        return change


CHANGES = {
    "objects": ("put", "delete"),
    "catalog": ("begin_ingest", "end_ingest", "add_products", "add_dataset", "remove_dataset"),
}


def dies(shop: Any, store: str, lives: int, attempt: Callable[[], Any]) -> bool:
    """Whether `attempt` dies at that change of the store."""
    undying = getattr(shop, store)
    setattr(shop.stores, store, Mortal(undying, CHANGES[store], lives))
    try:
        attempt()
    except Died:
        return True
    finally:
        setattr(shop.stores, store, undying)
    return False
