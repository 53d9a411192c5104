"""Texts of ensemble files whose networks are resnet18: what comes of them."""

import json

import pytest

from shared import ensemble_file
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.errors import BadInputError


def parse(text: str) -> Ensemble:
    return ensemble_file.parse(text, "the text", {"resnet18": ()})


def kept(text: str) -> Ensemble:
    """The ensemble, which comes back the same as a file and as JSON."""
    found = parse(text)
    assert parse(ensemble_file.render(found)) == found
    assert from_plain(json.loads(json.dumps(found.plain()))) == found
    return found


def refusal(text: str) -> str:
    """The words by which a text is refused."""
    with pytest.raises(BadInputError) as caught:
        parse(text)
    return str(caught.value)
