from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from shared.domain import quota
from shared.domain.service_records import Admission

MOST = 10


def test_a_job_is_let_in_up_to_the_quota_and_not_beyond() -> None:
    row = Admission(tenant="shop", pending={"waiting": 3})

    assert quota.admit(row, {"running": 4}, (), "new", 3, most=MOST) == Admission(
        tenant="shop", generation=1, pending={"waiting": 3, "new": 3}
    )
    assert quota.admit(row, {"running": 4}, (), "new", 4, most=MOST) is None


def test_a_pending_job_that_is_there_counts_what_remains_of_it() -> None:
    row = Admission(tenant="shop", generation=5, pending={"made": 9, "ended": 9})

    admitted = quota.admit(row, {"made": 2}, ("made", "ended"), "new", 8, most=MOST)

    assert admitted is not None
    assert admitted.pending == {"new": 8}


def test_what_was_let_in_and_never_made_is_forgotten() -> None:
    row = Admission(tenant="shop", pending={"never": 9})

    assert quota.admit(row, {}, (), "new", 8, most=MOST) is None
    admitted = quota.admit(row, {}, (), "new", 8, most=MOST, stale=("never",))
    assert admitted is not None
    assert admitted.pending == {"new": 8}


@dataclass
class Shop:
    """The rows, and requests that stand between two of their steps."""

    row: Admission = field(default_factory=lambda: Admission(tenant="shop"))
    jobs: dict[str, int] = field(default_factory=dict)  # made -> what remains
    read: dict[str, tuple[Admission, dict[str, int], set[str]]] = field(default_factory=dict)
    let_in: dict[str, int] = field(default_factory=dict)

    def judge(self, name: str) -> None:
        row = self.row
        self.read[name] = (row, {k: n for k, n in self.jobs.items() if n}, set(row.pending) & set(self.jobs))

    def swap(self, name: str, products: int) -> None:
        row, remaining, known = self.read.pop(name)
        new = quota.admit(row, remaining, known, name, products, most=MOST)
        if new is not None and row.generation == self.row.generation:
            self.row = new
            self.let_in[name] = products

    def make(self, name: str) -> None:
        self.jobs[name] = self.let_in.pop(name)

    def outstanding(self) -> int:
        return sum(self.jobs.values()) + sum(self.let_in.values())


@given(st.data())
def test_requests_in_any_order_never_exceed_the_quota(data: st.DataObject) -> None:
    shop = Shop()
    for step in range(30):
        choices = [("judge", f"job {step}")]
        choices += [("swap", name) for name in shop.read]
        choices += [("make", name) for name in shop.let_in]
        choices += [("work", name) for name, left in shop.jobs.items() if left]
        action, name = data.draw(st.sampled_from(choices))
        if action == "judge":
            shop.judge(name)
        elif action == "swap":
            shop.swap(name, data.draw(st.integers(1, 6)))
        elif action == "make":
            shop.make(name)
        else:
            shop.jobs[name] -= 1
        assert shop.outstanding() <= MOST
