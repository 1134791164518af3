"""The pages in a browser: filters, steps through errors, requests nothing and runs nothing of the notes."""

import contextlib
import http.server
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.notes_page import notes_page
from clinnlp.evaluation.page import Surroundings, html_report
from clinnlp.evaluation.panels import Bar, Panel, Table
from clinnlp.evaluation.score import evaluate

HIT = "document.title='hit';window.hit=1"
EVIL = f'"></bdi></td><script>{HIT}</script><img src=x onerror="{HIT}"><svg onload="{HIT}">'
TEXT = f"Fever and 😀 cough.\r\n\tDenies\x07 \u202eevil\u202c {EVIL}\n\nשלום fever  now, חום"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    with sync.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=found, args=["--disable-gpu", "--disable-background-networking"]
            )
        except sync.Error:
            pytest.skip("no chromium: install one, or run `playwright install chromium`")
        yield opened
        opened.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page; what it requests and says is kept in `asked` and `said` of the window."""
    contexts = []

    def show(page: str, width: int = 1200, scheme: str = "light", script: bool = True) -> Any:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_bytes(page.encode())
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        window = context.new_page()
        window.asked, window.said = [], []
        window.on("request", lambda request: window.asked.append(request.url))
        window.on("console", lambda message: window.said.append(message.text))
        window.on("pageerror", lambda error: window.said.append(str(error)))
        window.goto(path.as_uri())
        return window

    yield show
    for context in contexts:
        context.close()


@pytest.fixture
def asked_of() -> Iterator[tuple[str, list[str]]]:
    """A server of this machine, and the paths that it is asked for."""
    reached: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", reached
        server.shutdown()


def notes() -> tuple[list[Document], list[Document]]:
    """Three notes: without errors, with one of PROBLEM, and with six, two of them of TEST."""
    plain = "Fever. Aspirin. Chest film."
    right = Span(0, 5, "PROBLEM"), Span(7, 14, "DRUG"), Span(16, 26, "TEST")
    many = "\n".join(f"{n:02d} fever, aspirin and film" for n in range(60))
    gold = [Span(27 * n + 3, 27 * n + 8, "PROBLEM") for n in (0, 10, 20, 59)] + [
        Span(27 * 30 + 22, 27 * 30 + 26, "TEST")
    ]
    said = [gold[0], Span(27 * 10 + 3, 27 * 10 + 9, "PROBLEM"), Span(27 * 20 + 3, 27 * 20 + 8, "DRUG")]
    said += [Span(27 * 30 + 10, 27 * 30 + 17, "TEST"), Span(0, 2, "DRUG")]
    return (
        [Document("right", plain, right), Document("one", plain, right[:1]), Document("many", many, tuple(gold))],
        [Document("right", plain, right), Document("one", plain), Document("many", many, tuple(said))],
    )


def shown(window: Any) -> list[str]:
    titles = window.locator("article:visible h2").all_text_contents()
    return [title.removeprefix("Note ") for title in titles]


def test_stepping_with_the_keyboard(show: Callable[..., Any]) -> None:
    window = show(notes_page(*notes(), "t"))
    status = window.locator("#status")
    assert status.inner_text() == "7 errors in 3 notes"
    assert len(window.asked) == 1, "the page itself"
    assert shown(window) == ["many", "one", "right"]
    told = []
    for key in "njnnnnn":
        window.keyboard.press(key)
        told.append(status.inner_text())
        place = window.evaluate("(r => [r.top, r.bottom])(document.activeElement.getBoundingClientRect())")
        assert 50 < place[0] < place[1] < 800, "what is stepped to is in sight, below the bar"
        assert window.locator(".mark.now").first.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert [words.split(":")[0] for words in told] == [f"Error {n + 1} of 7, Note many" for n in range(6)] + [
        "Error 7 of 7, Note one"
    ]
    assert [words.split(": ")[1] for words in told] == [
        *("spurious", "boundary", "type", "spurious", "missed", "missed", "missed")
    ]
    assert (
        told[1] == "Error 2 of 7, Note many: boundary: gold PROBLEM 273:278 “fever”; predicted PROBLEM 273:279 “fever,”"
    )
    window.keyboard.press("n")
    assert status.inner_text().startswith("Error 1 of 7"), "round again"
    window.keyboard.press("p")
    window.keyboard.press("k")
    assert status.inner_text().startswith("Error 6 of 7, Note many: missed: gold PROBLEM 1596:1601")
    window.get_by_role("button", name="Next").click()
    assert status.inner_text().startswith("Error 7 of 7")
    assert window.evaluate("document.activeElement.id") == "next", "a button keeps the focus for the next press"
    window.locator("#keys").uncheck()
    window.keyboard.press("n")
    assert status.inner_text().startswith("Error 7 of 7"), "single keys can be switched off"
    assert window.said == []


def test_filters(show: Callable[..., Any]) -> None:
    window = show(notes_page(*notes(), "t"))
    status = window.locator("#status")
    window.locator("#label").select_option("TEST")
    assert status.inner_text() == "2 errors in 3 notes"
    marked = window.locator(".mark:not(.off):not(.sample)")
    assert {label.split(" ")[0] for label in marked.locator("> .tag").all_text_contents()} == {
        "TEST\xa0spurious",
        "TEST\xa0missed",
        "TEST",
    }
    assert not window.locator(".tag:visible", has_text="PROBLEM").count()
    window.locator("#only").check()
    assert (status.inner_text(), shown(window)) == ("2 errors in 1 note", ["many"])
    window.locator("#label").press("n")  # types into the list, does not step
    assert not window.locator(".now").count()
    window.locator("#only").focus()
    window.keyboard.press("n")
    assert status.inner_text().startswith("Error 1 of 2, Note many: spurious: predicted TEST 820:827")
    window.locator("#kinds").get_by_label("spurious").uncheck()
    assert status.inner_text() == "1 error in 1 note" and not window.locator(".now").count()
    window.keyboard.press("n")
    assert status.inner_text().startswith("Error 1 of 1, Note many: missed: gold TEST 832:836")
    window.locator("#kinds").get_by_label("missed").uncheck()
    assert (status.inner_text(), shown(window)) == ("0 errors in 0 notes", [])
    window.keyboard.press("n")
    assert status.inner_text() == "No errors to step through"
    window.reload()
    window.locator("#order").select_option("as given")
    assert shown(window) == ["right", "one", "many"]
    window.keyboard.press("n")
    assert status.inner_text().startswith("Error 1 of 7, Note one"), "steps follow the order shown"
    assert len(window.asked) == 2, "the page and its reload"


def test_without_a_script_everything_is_shown(show: Callable[..., Any]) -> None:
    window = show(notes_page(*notes(), "t"), script=False)
    assert shown(window) == ["many", "one", "right"]
    assert window.locator("li[data-e]:visible").count() == 7 and window.locator(".tag:visible").count() == 17
    assert not window.locator("nav:visible, select:visible, input:visible").count(), "nothing that would not work"
    assert window.locator("#kinds li:visible").count() == 8, "the kinds are explained all the same"
    window.locator("li[data-e] a").first.click()
    assert window.url.endswith("#m1") and len(window.asked) <= 2


def test_nothing_of_the_notes_runs(show: Callable[..., Any]) -> None:
    spans = Span(0, 5, EVIL, attributes={EVIL: EVIL}), Span(10, 17, "B")
    gold = [Document(EVIL, TEXT, spans, labels=(EVIL,))]
    window = show(notes_page(gold, [Document(EVIL, TEXT, spans[1:], labels=("B",))], EVIL, labels=True))
    for key in "nnp":
        window.keyboard.press(key)
    window.locator("#label").select_option(index=1)
    window.mouse.move(100, 500)
    assert window.evaluate("[window.hit, document.scripts.length, document.images.length]") == [None, 1, 0]
    assert "<script>" in window.title() and window.title() != "hit"
    assert window.said == [] and len(window.asked) == 1
    column = """[...document.querySelectorAll('td.gold')].map(cell => {
        const copy = cell.cloneNode(true);
        for (const tag of copy.querySelectorAll('.tag')) tag.remove();
        for (const seen of copy.querySelectorAll('.esc'))
            seen.replaceWith(String.fromCodePoint(parseInt(seen.title.slice(2), 16)));
        return copy.textContent; }).join('')"""
    assert window.evaluate(column) == TEXT, "what a browser makes of the page is the text, character for character"


@pytest.mark.parametrize("policy", [True, False], ids=["with the policy", "without, to see that the test sees"])
def test_the_policy_stops_what_escaping_would_let_through(
    policy: bool, show: Callable[..., Any], asked_of: tuple[str, list[str]]
) -> None:
    server, reached = asked_of
    page = notes_page(*notes(), "t")
    if not policy:
        page = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    fetched = (
        f'<img src="{server}/img"><iframe src="{server}/frame"></iframe><link rel="stylesheet" href="{server}/css">'
    )
    for place in ("</header>", "</article>", "</body>"):
        page = page.replace(place, EVIL + fetched + place)
    window = show(page.replace("</body>", f'<a id="link" href="javascript:{HIT}">x</a></body>'))
    window.evaluate("document.getElementById('link').click()")
    later = "s => { const e = document.createElement('script'); e.text = s; document.body.append(e); }"
    with contextlib.suppress(Exception):  # the policy may refuse the text itself
        window.evaluate(later, HIT)
    window.keyboard.press("n")
    assert window.locator("#status").text_content().startswith("Error 1 of 7"), "the page's own script runs"
    window.wait_for_timeout(100)
    assert window.evaluate("window.hit") == (None if policy else 1)
    assert set(reached) == (set() if policy else {"/img", "/frame", "/css"})
    assert any("Content Security Policy" in words for words in window.said) == policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_fits_a_phone_and_a_desk(width: int, scheme: str, show: Callable[..., Any]) -> None:
    long = Span(0, 5, "A" * 300, attributes={"b" * 300: True})
    text = "Fever " + "x" * 3000
    window = show(
        notes_page([Document("i" * 300, text, (long,))], [Document("i" * 300, text)], "t" * 300), width, scheme
    )
    assert window.evaluate("document.documentElement.scrollWidth") <= width, "no scrolling sideways"
    gold, said = (window.locator(f"td.{side}").first.bounding_box() for side in ("gold", "predicted"))
    assert (gold["y"] == said["y"]) == (width == 1200) and (gold["x"] == said["x"]) == (width == 390)
    ground = window.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 21, 27)"}[scheme]


def test_landmarks_names_and_the_way_past_the_controls(show: Callable[..., Any]) -> None:
    window = show(notes_page(*notes(), "t"))
    for role, name in (("navigation", "Errors"), ("region", "Kinds and filters"), ("article", "Note many")):
        assert window.get_by_role(role, name=name).count() == 1
    assert window.get_by_role("main").count() == window.get_by_role("banner").count() == 1
    assert window.locator("#status").get_attribute("aria-live") == "polite"
    assert window.get_by_role("columnheader", name="Gold").count() == 3
    for name in ("Label", "Order", "only notes with errors", "missed"):
        assert window.get_by_label(name).count() >= 1
    window.keyboard.press("Tab")
    skip = window.locator(".skip")
    assert skip.bounding_box()["y"] >= 0, "seen once it has the focus"
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == "notes"
    window.keyboard.press("n")
    assert window.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px", "the focus is seen"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_report_fits_a_phone_and_a_desk_and_asks_for_nothing(
    width: int, scheme: str, show: Callable[..., Any]
) -> None:
    spans = (Span(0, 5, "PROBLEM"), Span(10, 15, EVIL[:60]))
    gold = [
        Document(str(n), "Fever and cough.", spans, labels=("a" * (n % 2 + 1),), group=str(n // 2)) for n in range(40)
    ]
    said = [replace(note, spans=note.spans[: 1 + n % 2]) for n, note in enumerate(gold)]
    table = Table(("arm", "F1, %", "test"), (("a long name " * 6, Bar(0.5, 0.4, 0.6), "approximate randomization"),))
    around = Surroundings({"model": "m" * 90}, {"data.test": "x" * 200}, ["groups: 3"], ["read this first " * 10])
    window = show(html_report(evaluate(gold, said), EVIL, around, [Panel("Runs", (), (table, table))]), width, scheme)
    assert window.asked == [window.url] and window.said == []
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert window.evaluate("window.hit") is None
    window.locator("summary").click()
    assert window.locator("details table").is_visible()
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    spilled = "[...document.querySelectorAll('td')].filter(cell => cell.scrollWidth > cell.clientWidth + 1).length"
    assert window.evaluate(spilled) == 0
    overlaps = window.evaluate(
        """[...document.querySelectorAll('.meter')].filter(meter => {
        const [text, track] = meter.children; if (!track || !track.offsetWidth) return false;
        return text.getBoundingClientRect().right > track.getBoundingClientRect().left + 1}).length"""
    )
    assert overlaps == 0
