"""The commands of docs/operations.md, so that each is run by a test and no other is taken for one of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
GUIDE = REPOSITORY / "docs" / "operations.md"


def commands() -> set[str]:
    """Every line of every block of commands."""
    blocks = GUIDE.read_text().split("```")[1::2]
    return {line for block in blocks for line in block.strip().splitlines()}


def documented(command: str, **words: str) -> str:
    """A command of the guide with its words in capitals filled in."""
    assert command in commands(), f"docs/operations.md does not have: {command}"
    for word, value in words.items():
        assert word in command, f"{word} is no word of: {command}"
        command = command.replace(word, value)
    return command


def run_by_tests() -> Iterator[str]:
    """The commands that tests ask for by `documented`, read from their sources."""
    for file in sorted((REPOSITORY / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="documented"), args=[ast.Constant(value=str(command)), *_]):
                    yield command
