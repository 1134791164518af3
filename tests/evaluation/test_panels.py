"""Tables and charts of the page: placed right, escaped, readable without a script."""

import math
import re

import pytest

from clinnlp.core.report import Report
from clinnlp.evaluation.page import html_report
from clinnlp.evaluation.panels import Axis, Bar, Chart, Line, Panel, Point, Table, confusion, percent_axis

EVIL = '<script>alert(1)</script>"\u202e\x07'


def chart(name: str = "a") -> Chart:
    points = (Point(0.0, 0.1, 0.0, 0.3, name), Point(1.0, 0.9, 0.8, 1.0))
    return Chart(percent_axis(name), percent_axis(name), (Line(name, points), Line("b", points)), diagonal=True)


def test_places_on_axes() -> None:
    notes = Axis("notes", 10, 1000, ((10, "10"), (1000, "1000")), log=True)
    assert notes.place(10) == 0 and notes.place(1000) == 1 and notes.place(100) == pytest.approx(0.5)
    assert percent_axis("F1").place(0.25) == 0.25
    assert percent_axis("F1").place(2.0) == 1, "what lies outside is drawn at the border"
    assert Axis("one", 3, 3, ()).place(3) == 0.5
    drawn = chart()
    assert drawn.at((0, 0)) == (52, 298) and drawn.at((1, 1)) == (546, 12)
    assert drawn.path(drawn.lines[0]) == "52.0,269.4 546.0,40.6"


def test_texts_of_cells() -> None:
    assert Bar(0.5, 0.25, 0.75).text == "50.0 (25.0 to 75.0)"
    assert Bar(0.5).text == "50.0"
    assert Bar(None).text == Bar(math.nan).text == "-"
    assert not Bar(None).drawn
    table = confusion(["a", "b"], [[3, 1], [0, 0]], ["a", "b"])
    assert [cell.share for cell in table.rows[0][1:]] == [0.75, 0.25]  # type: ignore[union-attr]
    assert [cell.share for cell in table.rows[1][1:]] == [0.0, 0.0]  # type: ignore[union-attr]


def test_columns_of_bars_and_texts_stand_to_the_left_with_their_heads() -> None:
    rows = (
        ("a", "1", Bar(0.5), Bar(None), "a sentence that is read as a text"),
        ("b", "2", Bar(None), Bar(0.5, 0.4, 0.6), "short"),
    )
    table = Table(("name", "n", "F1", "recall", "meaning"), rows, frozenset({1, 4}))
    assert table.styles == ("", " wide", "bar left plain", "bar left", "left wide")
    assert Table(("name", "n"), ()).styles == ("", "")
    page = html_report(Report(), "t", {}, [Panel("p", (), (table,))])
    assert page.count('class="bar left plain"') == 1 + 2, "the head and its cells"


def test_a_line_without_marks_is_a_line_alone() -> None:
    lines = (Line("a", (Point(0.0, 0.1), Point(1.0, 0.9))), Line("b", (Point(0.0, 0.2), Point(1.0, 0.3)), marks=False))
    drawn = Chart(percent_axis("x"), percent_axis("y"), lines)
    page = html_report(Report(), "t", {}, [Panel("p", (), (), (drawn,))])
    assert page.count("<polyline") == 2 and page.count("<circle") == 3 and page.count("<rect") == 0, "one in the legend"


def test_a_page_with_panels_is_escaped_and_has_no_script() -> None:
    table = Table((EVIL, EVIL), ((EVIL, EVIL), (EVIL, Bar(0.5, 0.4, 0.6))))
    counts = confusion([EVIL], [[2]], [EVIL])
    page = html_report(Report(), "t", {}, [Panel(EVIL, (EVIL,), (table, counts), (chart(EVIL),))])
    assert "<script" not in page and "\u202e" not in page and "\x07" not in page
    assert page.count("&lt;script&gt;") == 16, "title, fact, 5 + 2 in tables, 7 in the chart"
    assert not re.search(r"(src|href)=", page)
    assert page.count("<polyline") == 2 and page.count("<circle") == page.count("</circle>") + 1
    assert '50.0 <span class="reach">(40.0 to 60.0)</span>' in page, "it breaks before the interval, not in it"


def test_a_column_without_a_name_has_an_empty_head() -> None:
    page = html_report(Report(), "t", {}, [Panel("p", (), (Table(("", "n"), (("", "1"),)),))])
    assert '<th class=""></th><th class="">n</th>' in page
    assert "&#39;&#39;" in page, "an empty name of a row is a name and is shown"
