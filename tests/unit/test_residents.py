import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from shared.domain.errors import FailedError
from workers.scoring.residents import Residents


@dataclass
class Weights:
    bytes: int
    closed: bool = False
    itself: "Weights | None" = field(default=None, repr=False)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _nothing_kept_from_collection() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_the_least_recently_used_go_until_the_rest_fits() -> None:
    told: list[int] = []
    residents: Residents[Weights] = Residents(10, lambda _, size: told.append(size))
    a, b, c = (residents.use(name, lambda size=size: Weights(size)) for name, size in (("a", 4), ("b", 4), ("c", 2)))
    residents.use("a", lambda: pytest.fail("it is in memory"))

    d = residents.use("d", lambda: Weights(5))

    assert [one.closed for one in (a, b, c, d)] == [False, True, True, False]
    assert (residents.bytes, told) == (9, [4, 8, 10, 9])
    assert residents.get("b") is None


def test_what_is_too_large_for_the_limit_stays_while_it_is_used() -> None:
    residents: Residents[Weights] = Residents(10)
    small = residents.use("small", lambda: Weights(1))
    large = residents.use("large", lambda: Weights(50))
    assert (small.closed, large.closed) == (True, False)
    residents.drop("large")
    residents.drop("large")
    assert large.closed


def test_what_does_not_fit_beside_others_is_loaded_alone() -> None:
    residents: Residents[Weights] = Residents(100)
    other = residents.use("other", lambda: Weights(1))

    def load() -> Weights:
        if not other.closed:
            raise FailedError("the device has no room")
        return Weights(2)

    assert residents.use("one", load).bytes == 2
    residents.clear()
    with pytest.raises(FailedError, match="broken"):
        residents.use("none", _broken)


def test_what_is_in_memory_is_kept_from_collection_and_what_was_is_collected() -> None:
    residents: Residents[Weights] = Residents(100)
    first = residents.use("first", lambda: Weights(1))
    first.itself = first
    gone = weakref.ref(first)
    del first
    assert gc.get_freeze_count() > 0
    residents.drop("first")
    assert gc.get_freeze_count() == 0
    residents.use("second", lambda: Weights(1))
    assert gone() is None
    assert gc.get_freeze_count() > 0


def _broken() -> Weights:
    raise FailedError("broken")
