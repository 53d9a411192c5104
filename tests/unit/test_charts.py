import math
import re

import pytest

from services.reports.charts import Bar, Series, bars, plot
from tests.catalog_scene import PageCheck

LINE = Series("accuracy", [1, 2, 3], [0.2, 0.5, 0.6], [0.1, 0.4, 0.5], [0.3, 0.6, 0.7])
POINTS = Series("points", [0.1, 0.5], [0.1, 0.4], [0.0, 0.3], [0.2, 0.5], kind="points")
STEPS = Series("steps", [1, 10, 100], [5000, 50, 1], kind="steps")


def drawn(*series: Series, title: str = "A plot", **options: bool) -> str:
    return str(plot(series, title=title, x="across", y="up", **options))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_equal_input_gives_equal_text_and_other_input_other_text():
    assert drawn(LINE, POINTS) == drawn(LINE, POINTS)
    assert drawn(LINE) != drawn(POINTS)


def test_colours_are_variables_and_nothing_else():
    svg = drawn(LINE, POINTS, STEPS)
    for variable in ("--ink", "--grid", "--series-1", "--series-2", "--series-3"):
        assert f"var({variable})" in svg
    assert re.findall(r"(?:fill|stroke|color): ?#", svg) == []


def test_an_svg_stands_inside_a_page():
    svg = drawn(LINE, title='<b>&"')
    page = PageCheck(svg)
    assert page.tags[:3] == ["figure", "figcaption", "svg"]
    assert 'role="img"' in svg
    assert "<title>&lt;b&gt;&amp;&#34;</title>" in svg
    assert "http" not in svg, "no namespace either"
    assert "<style" not in svg, "it would style the whole page"
    assert re.search(r'viewBox="0 0 302\.4 201\.6"', svg)


def test_ids_of_two_plots_are_different_and_all_are_found():
    both = drawn(LINE) + drawn(POINTS)
    PageCheck(both)
    ids = set(re.findall(r' id="([^"]+)"', both))
    used = set(re.findall(r'href="#([^"]+)"', both)) | set(re.findall(r"url\(#([^)]+)\)", both))
    assert used == ids
    assert ids


def test_axes_say_what_they_are():
    labels = texts(drawn(LINE, y_percent=True))
    assert {"across", "up"} <= set(labels)
    assert any(label.endswith(" %") for label in labels)
    assert [label for label in labels if label.startswith("1.")] == [], "whole epochs"


def test_large_numbers_and_decades_are_readable():
    assert {"10", "100", "1,000"} <= set(texts(drawn(STEPS, x_log=True, y_log=True)))
    assert "20 k" in texts(drawn(Series("s", [1, 2], [0, 20_000])))


def test_a_narrow_log_axis_has_more_than_one_label():
    labels = texts(drawn(Series("s", [1, 2, 3], [10, 30, 52]), y_log=True))
    assert {"10", "20", "50"} <= set(labels)


def test_dollars_are_no_formulas():
    assert "$5 and $6" in texts(str(plot([LINE], title="t", x="$5 and $6", y="y")))


def test_the_diagonal_is_one_more_line():
    assert drawn(POINTS, diagonal=True).count("stroke-dasharray") == drawn(POINTS).count("stroke-dasharray") + 1


def test_a_legend_only_for_several_and_further_ones_dashed():
    assert "legend" not in drawn(LINE)
    many = drawn(*(Series(f"m{n}", [1, 2], [n, n]) for n in range(8)))
    assert PageCheck(many).text.endswith("m0 m1 m2 m3 m4 m5 m6 m7")
    assert many.count("border-top-style:dashed") == 2
    assert many.count("border-top-color:var(--series-1)") == 2


@pytest.mark.parametrize("log", [False, True])
def test_nothing_one_point_and_equal_points_are_drawn(log):
    for series in ([], [Series("none", [], [])], [Series("one", [1], [1])], [Series("flat", [1, 2], [3, 3])]):
        PageCheck(drawn(*series, y_log=log, x_log=log))


def test_bars_are_shares_of_the_largest_or_of_the_whole():
    rows = [Bar("a", 0.4, "40 %", 0.3, 0.5), Bar("b", 0.1, "10 %")]
    widths = re.compile(r"<span style=\"width:([\d.]+)%")
    assert widths.findall(bars(rows)) == ["80.00", "20.00"], "the end of the interval is the largest"
    assert widths.findall(bars(rows, whole=1.0)) == ["40.00", "10.00"]
    assert 'style="left:30.00%;width:20.00%"' in bars(rows, whole=1.0)


def test_bars_escape_and_stand_nothing_odd():
    table = bars([Bar('<b>&"', math.nan, "<i>"), Bar("zero", 0.0, "0")])
    assert PageCheck(table).text == '<b>&" <i> zero 0'
    assert table.count("width:0.00%") == 2
    PageCheck(bars([]))
