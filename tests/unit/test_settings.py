"""Settings from the environment: what chooses an adapter, switches, and what a child process gets."""

import pytest

from shared.domain.errors import BadInputError
from shared.settings import S3Settings, Settings, from_environment, to_environment

ON_SERVERS = {
    "SHELVER_CATALOG": "mongodb://shelver:secret@db/shelver",
    "SHELVER_OBJECTS": "s3://catalog/photos",
    "SHELVER_QUEUE": "redis://broker:6379/0",
    "SHELVER_S3_PATH_STYLE": "false",
}


def test_stores_are_embedded_unless_addresses_are_given() -> None:
    embedded = from_environment({})
    assert (embedded.catalog, embedded.objects, embedded.queue) == ("", "", "")
    given = from_environment(ON_SERVERS)
    assert (given.catalog, given.objects, given.queue) == tuple(list(ON_SERVERS.values())[:3])
    assert given.s3 == S3Settings(path_style=False)


def test_a_child_process_gets_the_same() -> None:
    given = from_environment(ON_SERVERS)
    assert from_environment(to_environment(given)) == given.in_home(given.home.absolute())
    assert from_environment(to_environment(Settings())) == Settings().in_home(Settings().home.absolute())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SHELVER_CATALOG", "http://secret@db", "it is no mongodb:// address; correct it, or unset it to embed"),
        ("SHELVER_OBJECTS", "s3://", "it is no s3:// address; correct it, or unset it to embed"),
        ("SHELVER_QUEUE", "valkey://broker", "it is no redis:// address; correct it, or unset it to embed"),
        ("SHELVER_S3_PATH_STYLE", "maybe", "'maybe' is neither true nor false; correct or unset it"),
    ],
)
def test_what_is_no_value_is_refused_without_repeating_secrets(name: str, value: str, words: str) -> None:
    with pytest.raises(BadInputError) as refused:
        from_environment({name: value})
    assert str(refused.value) == f"{name}: {words}"
