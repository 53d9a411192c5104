from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.domain import runs as rules
from shared.domain.errors import ConflictError
from shared.domain.records import Run, Training
from shared.domain.runs import LatestCheckpoints

RUN = Run(id="r", member="M", dataset="d", definition={})


class RunLife(RuleBasedStateMachine):
    """Any order of allowed steps keeps a run's row sound."""

    def __init__(self) -> None:
        super().__init__()
        self.run = replace(RUN, parent="p", state="waiting")
        self.steps = 0
        self.launches = 0

    def move(self, new: Run) -> None:
        self.steps += 1
        self.run = new

    @precondition(lambda self: self.run.state == "waiting")
    @rule()
    def parent_is_complete(self) -> None:
        self.move(rules.release(self.run))

    @precondition(lambda self: self.run.state == "pending")
    @rule()
    def launch(self) -> None:
        self.launches += 1
        self.move(rules.launch(self.run))

    @precondition(lambda self: self.run.state == "running")
    @rule(checkpoint=st.booleans())
    def preempt(self, checkpoint: bool) -> None:
        attempt = self.run.attempt if checkpoint else 0
        self.move(rules.preempt(self.run, "killed", LatestCheckpoints(checkpoints=((attempt, 5),))))
        assert self.run.state == "pending" or self.launches >= rules.MAX_PREEMPTIONS

    @precondition(lambda self: self.run.state in rules.OPEN)
    @rule()
    def fail(self) -> None:
        self.move(rules.fail(self.run, "why"))

    @precondition(lambda self: self.run.state in rules.OPEN)
    @rule()
    def cancel(self) -> None:
        self.move(rules.cancel(self.run))

    @precondition(lambda self: self.run.state in ("failed", "cancelled"))
    @rule()
    def retry(self) -> None:
        self.move(rules.retry(self.run))
        assert self.run.state == "waiting"

    @precondition(lambda self: self.run.state != "complete")
    @rule()
    def manifest_appears(self) -> None:
        self.move(rules.complete(self.run))

    @invariant()
    def every_step_raises_the_generation_and_every_launch_the_attempt(self) -> None:
        assert self.run.generation == self.steps
        assert self.run.attempt == self.launches

    @precondition(lambda self: self.run.state == "complete")
    @rule(step=st.sampled_from([rules.release, rules.launch, rules.cancel, rules.retry, rules.complete]))
    def a_complete_run_never_changes(self, step: Callable[[Run], Run]) -> None:
        with pytest.raises(ConflictError):
            step(self.run)


TestRunLife = RunLife.TestCase
TestRunLife.settings = settings(max_examples=30, stateful_step_count=15)


def test_a_run_that_never_gets_to_a_checkpoint_fails_and_says_so() -> None:
    run = RUN
    for _ in range(rules.MAX_PREEMPTIONS):
        run = rules.preempt(rules.launch(run), "killed", LatestCheckpoints())
    assert run.state == "failed"
    assert "out of memory?" in run.reason


def test_checkpoints_make_preemptions_endless() -> None:
    run = RUN
    for attempt in range(1, 50):
        run = rules.preempt(rules.launch(run), "killed", LatestCheckpoints(checkpoints=((attempt, 1),)))
    assert run.state == "pending"


def test_a_step_that_the_state_does_not_allow_names_the_run_and_its_state() -> None:
    with pytest.raises(ConflictError, match="run r is pending: releasing is possible only when waiting"):
        rules.release(RUN)


def test_the_first_failure_is_the_one_that_caused_the_others() -> None:
    parent = replace(RUN, id="p", member="P", state="failed")
    child = replace(RUN, id="c", member="C", parent="p", state="failed")
    assert rules.failure({"C": child, "P": parent}) == parent
    assert rules.failure({"M": RUN}) is None


def test_a_training_that_ended_may_be_asked_for_again() -> None:
    training = Training(id="t", ensemble="e", dataset="d", document={}, runs={})
    failed = rules.fail_training(training, "M1: why")
    again = rules.resume_training(failed)
    assert (failed.state, again.state, again.generation) == ("failed", "running", 2)
    assert rules.complete_training(again, "v").version == "v"
