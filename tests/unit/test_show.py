"""What a person sees when names look like something else to the library that draws them."""

import pytest

from services.cli.show import facts, stdout, table

NAMES = ["[red]Fruit", "a [/b] c", "[link=x]y[/link]", ":apple: 1:2", r"back\[slash"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table(["category", "n"], [[name, 1234]], empty="none")
    facts({"name": name})
    stdout.print(name, markup=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [["category", "n"], [*name.split(), "1,234"], ["name", *name.split()], name.split()]
