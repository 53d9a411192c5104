from collections.abc import Callable
from pathlib import Path

import pytest

from shared import ensemble_file, wiring
from shared.domain import runs as rules
from shared.domain.ensemble import Ensemble
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.domain.records import Training
from shared.packs import Manifest
from shared.ports import Stores
from shared.settings import Settings
from shared.training_requests import cancel, request, retry

FILE = """
name: tiny
splits: {A: {seed: 7, holdout: 0.2}}
defaults: {input: {size: 32}, model: test_resnet, epochs: 2}
members:
  child: {init: {member: first}}
  first: {}
  alone: {}
"""


@pytest.fixture
def stores(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Stores:
    stores = wiring.stores(Settings(home=tmp_path))
    make_dataset(stores.objects)
    return stores


@pytest.fixture
def ensemble() -> Ensemble:
    return ensemble_file.parse(FILE, "tiny.yaml", ensemble_file.architectures())


def states(stores: Stores, training: Training) -> dict[str, str]:
    return {member: stores.runs.run(run).state for member, run in training.runs.items()}


def put(stores: Stores, training: Training, member: str, *steps: Callable[..., object]) -> None:
    for step in steps:
        row = stores.runs.run(training.runs[member])
        assert stores.runs.swap_run(row, step(row))  # type: ignore[arg-type]


def test_a_request_makes_rows_parents_first_and_once(stores: Stores, ensemble: Ensemble) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    assert states(stores, training) == {"first": "pending", "child": "waiting", "alone": "pending"}
    assert list(training.runs).index("first") < list(training.runs).index("child")
    assert (training.state, training.created, training.move_current) == ("running", 5.0, True)
    assert request(stores, ensemble, "tiny", now=6.0) == training
    assert request(stores, ensemble, "tiny", ["child"], now=6.0).id != training.id


def test_what_cannot_be_trained_makes_no_rows(stores: Stores, ensemble: Ensemble) -> None:
    with pytest.raises(NotFoundError):
        request(stores, ensemble, "none", now=5.0)
    with pytest.raises(BadInputError, match="no member 'chlid'; did you mean 'child'"):
        request(stores, ensemble, "tiny", ["chlid"], now=5.0)
    assert stores.runs.trainings() == stores.runs.runs() == []


def test_where_current_goes_is_not_changed_under_way(stores: Stores, ensemble: Ensemble) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    with pytest.raises(ConflictError, match="is running already and moves `current`"):
        request(stores, ensemble, "tiny", now=5.0, move_current=False)
    cancel(stores, training.id)
    assert not request(stores, ensemble, "tiny", now=5.0, move_current=False).move_current


def test_cancel_stops_what_no_other_training_wants(stores: Stores, ensemble: Ensemble) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    other = request(stores, ensemble, "tiny", ["first"], now=5.0)
    put(stores, training, "alone", rules.launch, rules.complete)
    assert cancel(stores, training.id).state == "cancelled"
    assert states(stores, training) == {"first": "pending", "child": "cancelled", "alone": "complete"}
    assert cancel(stores, training.id).state == "cancelled"
    assert cancel(stores, other.id).state == "cancelled"
    assert states(stores, training)["first"] == "cancelled"


def test_cancel_is_for_those_that_run(stores: Stores, ensemble: Ensemble) -> None:
    with pytest.raises(NotFoundError):
        cancel(stores, "none")
    training = request(stores, ensemble, "tiny", now=5.0)
    stores.runs.swap_training(training, rules.fail_training(training, "why"))
    with pytest.raises(ConflictError, match="is failed: cancelling is possible only when running"):
        cancel(stores, training.id)


@pytest.mark.parametrize("ask", ["request", "retry"])
def test_what_failed_is_tried_again_and_what_is_complete_stays(stores: Stores, ensemble: Ensemble, ask: str) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    put(stores, training, "alone", rules.launch, rules.complete)
    put(stores, training, "first", lambda run: rules.fail(run, "why"))
    put(stores, training, "child", lambda run: rules.fail(run, "its parent first is failed"))
    stores.runs.swap_training(training, rules.fail_training(training, "why"))
    again = request(stores, ensemble, "tiny", now=6.0) if ask == "request" else retry(stores, training.id)
    assert (again.id, again.state, again.reason) == (training.id, "running", "")
    assert states(stores, again) == {"first": "pending", "child": "waiting", "alone": "complete"}
    assert retry(stores, training.id) == again


def test_a_complete_training_is_not_tried_again(stores: Stores, ensemble: Ensemble) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    stores.runs.swap_training(training, rules.complete_training(training, "v"))
    with pytest.raises(ConflictError, match="nothing to try again"):
        retry(stores, training.id)


def test_one_whose_runs_were_removed_is_not_tried_again(stores: Stores, ensemble: Ensemble) -> None:
    training = request(stores, ensemble, "tiny", now=5.0)
    stores.runs.swap_training(training, rules.fail_training(training, "why"))
    stores.runs.remove_run(training.runs["first"])
    with pytest.raises(ConflictError, match="was removed; ask for a new training"):
        retry(stores, training.id)
    assert stores.runs.training(training.id).state == "failed"
