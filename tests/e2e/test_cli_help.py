"""Every verb's help fits one screen, and the example in it works on the sample catalog."""

import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from services import cli
from services.cli.verbs import app
from services.gateway.authentication import new_key
from shared import layout, wiring
from shared.domain import states
from shared.job_requests import JobRequest, create
from shared.job_requests import cancel as cancel_job
from shared.settings import Settings
from tests.conftest import REPOSITORY, Shop

SCREEN = (80, 40)
ANY_ID = re.compile(r"\b[0-9a-f]{16}\b")
EXAMPLE = re.compile(r"Example: (shelver (?:[^\n]*\\\n)*[^\n]*)")


def helps(group: TyperGroup, before: str = "") -> Iterator[tuple[str, str]]:
    """Each verb, those of groups too, with its help."""
    for name, command in group.commands.items():
        yield before + name, command.help or ""
        if isinstance(command, TyperGroup):
            yield from helps(command, f"{before}{name} ")


HELP = dict(helps(typer.main.get_command(app)))


def examples(verb: str) -> list[str]:
    return [found.replace("\\\n", " ") for found in EXAMPLE.findall(HELP[verb])]


@pytest.mark.parametrize("verb", ["", *sorted(HELP)])
def test_help_fits_a_screen(shell, monkeypatch, verb):
    columns, lines = SCREEN
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = shell(*verb.split(), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    assert len(out.splitlines()) <= lines


@pytest.mark.parametrize("verb", sorted(HELP))
def test_help_has_an_example_of_its_verb(verb):
    assert examples(verb)
    for example in examples(verb):
        assert shlex.split(example)[: 1 + len(verb.split())] == ["shelver", *verb.split()]


@pytest.fixture(scope="module")
def place(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as a checkout has it, but with a small ensemble under the demo's name; the demo has run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    (folder / "ensembles").mkdir()
    small = shop.ensemble_file.read_text().replace("name: tiny", "name: grocery-small")
    (folder / "ensembles" / "grocery-small.yaml").write_text(small)
    # the shop's runs: a name in a file counts for nothing, so what is complete there need not be trained again
    shutil.copytree(shop.home / "objects" / "runs", folder / "demo" / "home" / "objects" / "runs")
    with contextlib.chdir(folder):
        assert cli.run(["demo"]) == 0
    shutil.copytree(folder / "demo" / "home", folder / "shelver-data")
    return folder


def real_id(verb: str, home: Path) -> str:
    """What stands for 0123456789abcdef: a run, a key, a job to cancel, one to remove, else the job that is scored."""
    stores = wiring.stores(Settings(home=home))
    if verb == "keys revoke":
        key, _ = new_key("shop", ("read",), "", 0.0)
        return stores.keys.add_key(key).id
    if verb == "runs":
        return stores.runs.runs()[0].id
    job = next(job for job in stores.jobs.jobs(states.ANSWERED) if job.ensemble == "grocery-small")
    if verb in ("cancel", "rm"):
        request = JobRequest(dataset="test", ensemble="grocery-small", idempotency_key=verb)
        job = create(stores, replace(request, chunk_images=10))
    if verb == "rm":
        cancel_job(stores.jobs, job.id)
        assert cli.run(["--home", str(home), "cancel", job.id]) == 0
    return job.id


def as_of_the_shop(example: str, place: Path) -> str:
    """Its members, whose weights lie in the working folder."""
    version = wiring.stores(Settings(home=place / "shelver-data")).runs.version("grocery-small")
    for known, member in {"resnet18": "first", "resnet10t": "second"}.items():
        run = layout.run_file(version.runs[member], "weights.safetensors")
        shutil.copy(place / "shelver-data" / "objects" / run, place / f"{known}.safetensors")
        example = example.replace(f"{known}=", f"{member}=")
    return example


@pytest.mark.parametrize("verb", sorted(HELP.keys() - {"up"}))  # which goes on until it is ended: see test_cli_up
def test_the_example_works(shell, place, monkeypatch, tmp_path, verb):
    monkeypatch.chdir(place)
    if verb == "ingest":  # elsewhere, or it would find the dataset complete
        monkeypatch.setenv("SHELVER_HOME", str(tmp_path))
    for example in examples(verb):
        if verb == "ensembles import":
            example = as_of_the_shop(example, place) + " --no-current"  # it has no holdout for the verbs that follow
        if verb == "pretrained add":
            example = as_of_the_shop(example, place).replace("add resnet18", "add test_resnet")
        if ANY_ID.search(example):
            example = ANY_ID.sub(real_id(verb, place / "shelver-data"), example)
        code, out, err = shell(*shlex.split(example)[1:])
        assert code == 0, f"{example}\n{out}\n{err}"
        assert out
