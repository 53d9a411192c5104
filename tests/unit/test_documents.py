"""What the documents claim: commands, files and words that exist."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from services.cli.verbs import app
from shared import ensemble_file
from tests import guide
from tests.monitoring import shipped

REPOSITORY = Path(__file__).parent.parent.parent
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
VERBS = set(typer.main.get_command(app).commands)


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_readme_shows_the_ensemble_file_as_it_is() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", text("README.md"), flags=re.DOTALL)
    assert [block.strip() for block in shown] == [text("ensembles/grocery-small.yaml").strip()]


@pytest.mark.parametrize("file", sorted((REPOSITORY / "ensembles").glob("*.yaml")), ids=lambda path: path.name)
def test_every_ensemble_file_is_valid(file: Path) -> None:
    assert ensemble_file.load(file).members


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_the_documents_exist(name: str) -> None:
    assert set(re.findall(r"(?<!helm install )shelver ([a-z]+)\b", text(name))) <= VERBS
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text(name))) <= targets


def test_each_command_of_the_guide_is_run_by_a_test() -> None:
    assert set(guide.run_by_tests()) == guide.commands()
    assert {line.split()[1] for line in guide.commands() if line.startswith("shelver ")} <= VERBS


def test_each_alert_is_explained_in_the_guide() -> None:
    rows = re.findall(r"^\| (Shelver\w+) \|", guide.GUIDE.read_text(), flags=re.MULTILINE)
    assert rows == list(shipped.rules())


def test_readme_names_every_verb() -> None:
    assert set(re.findall(r"`([a-z]+)`", text("README.md"))) >= VERBS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_the_documents_exist(name: str) -> None:
    named = set(re.findall(r"`((?:shared|services|workers|tests|ensembles|examples)/[\w/.-]*\w)`", text(name)))
    missing = {path for path in named if not (REPOSITORY / path).exists()}
    assert not missing


def test_every_dependency_says_what_it_is_for() -> None:
    project = text("pyproject.toml")
    declared = tomllib.loads(project)
    extras = [name for group in declared["project"]["optional-dependencies"].values() for name in group]
    for requirement in [*declared["project"]["dependencies"], *extras, *declared["dependency-groups"]["peers"]]:
        assert re.search(rf'"{re.escape(requirement)}", +# \S+', project), requirement


@pytest.mark.parametrize("file", sorted((REPOSITORY / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_pins_have_hashes_and_name_no_index(file: Path) -> None:
    lines = file.read_text().splitlines()
    pins = [line for line in lines if re.match(r"[a-z0-9][\w.-]*==", line)]
    assert pins
    assert all(line.endswith("\\") for line in pins)
    assert "://" not in file.read_text()
