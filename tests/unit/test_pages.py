import math

import jinja2
import pytest

from services.reports import pages
from services.reports.charts import Series, plot
from shared.domain.intervals import accuracy
from tests.catalog_scene import PageCheck


@pytest.mark.parametrize(
    ("filtered", "words"),
    [
        (pages.count(1234567), "1,234,567"),
        (pages.percent(0.8312), "83.1 %"),
        (pages.percent(0.00012), "0.012 %"),
        (pages.percent(0.0), "0.0 %"),
        (pages.percent(math.nan), "no figure"),
        (pages.figure(accuracy(241, 290)), "83.1 % (78.4-87.0 %, n = 290)"),  # Wilson by hand: 0.7836 to 0.8698
        (pages.figure(accuracy(0, 0)), "no figure (n = 0)"),
        (pages.seconds(0.00412), "4.12 ms"),
        (pages.seconds(0.99949), "999 ms"),
        (pages.seconds(0.9996), "1.0 s"),
        (pages.seconds(3.21), "3.2 s"),
        (pages.seconds(59.96), "1 min 00 s"),
        (pages.seconds(83), "1 min 23 s"),
        (pages.seconds(7500), "2 h 05 min"),
        (pages.size(512), "512 bytes"),
        (pages.size(1.5 * 2**20), "1.5 MiB"),
        (pages.size(5000 * 2**40), "5,000.0 TiB"),
    ],
)
def test_figures_in_words(filtered, words):
    assert filtered == words


def macro(call: str, **values: object) -> str:
    """What a template that uses a macro makes."""
    source = f'{{% import "macros.html.j2" as m %}}{{{{ {call} }}}}'
    return pages._environment().from_string(source).render(**values)


def test_a_picture_card_escapes_what_people_wrote():
    card = macro("m.picture_card('data:image/jpeg;base64,AA', name, [name])", name='<b>&"')
    check = PageCheck(card)
    assert check.pictures == 1
    assert check.text == '<b>&" <b>&"'
    assert 'alt="&lt;b&gt;&amp;&#34;"' in card


def test_lists_and_tables():
    assert PageCheck(macro("m.fact_list({'a': 1, '<b>': '<i>'})")).text == "a 1 <b> <i>"
    table = macro("m.figure_table(['name', 'n'], [['x', 1], ['y', 2]], [1])")
    assert PageCheck(table).text == "name n x 1 y 2"
    assert table.count('class="number"') == 3
    assert PageCheck(macro("m.headline('1', 'products', '2 % labelled')")).text == "1 products 2 % labelled"


def test_markup_of_plots_is_not_escaped_again():
    svg = plot([Series("s", [1, 2], [1, 2])], title="t", x="x", y="y")
    assert str(svg) in pages._environment().from_string("{{ svg }}").render(svg=svg)


def test_a_value_that_was_forgotten_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        macro("m.headline(forgotten, 'products')")


def test_the_layout_follows_light_and_dark_and_a_phone():
    page = pages.render("layout.html.j2")
    PageCheck(page)
    assert "prefers-color-scheme: dark" in page
    assert 'content="width=device-width, initial-scale=1"' in page
    for variable in ("--ink", "--grid", *(f"--series-{n}" for n in range(1, 7))):
        assert page.count(f"{variable}:") == 2, f"{variable} for light and for dark"
    assert "http" not in page
