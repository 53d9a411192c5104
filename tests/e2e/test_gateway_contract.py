"""The API keeps what its OpenAPI document says: no request makes it fail, and no answer has another shape."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.packs import Manifest
from tests.gateway_scene import Scene, gateway

EXAMPLES = 30  # per operation, valid ones and invalid ones
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., Manifest]) -> Iterator[Scene]:
    with gateway(tmp_path_factory.mktemp("gateway") / "home") as found:
        make_dataset(found.stores.objects)
        yield found


@pytest.fixture(scope="module")
def document(scene: Scene) -> Any:
    return schemathesis.openapi.from_url(f"{scene.url}/openapi.json")


@pytest.fixture(scope="module")
def authorization(scene: Scene) -> str:
    with scene.client("admin") as client:
        return str(client.headers["Authorization"])


def test_no_request_makes_it_fail(document: Any, authorization: str) -> None:
    """Operations in the order of the document, each with valid and invalid requests."""
    tried = []
    for result in document.get_all_operations():
        operation = result.ok()
        tried.append(operation.label)
        for mode in GenerationMode:
            _try(operation, mode, authorization)
    assert len(tried) > 30


def _try(operation: Any, mode: GenerationMode, authorization: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": authorization}, checks=CHECKS)

    with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
        run()  # an operation without parameters cannot be asked wrongly
