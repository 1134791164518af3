"""The page of notes: every character and span in its place, nothing that runs, nobody else may read it."""

import base64
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import Report
from clinnlp.errors import DataError, StorageError, UsageError
from clinnlp.evaluation.drawing import DEEPEST, levels, named
from clinnlp.evaluation.notes_page import notes_page, write_notes_page
from clinnlp.evaluation.score import evaluate
from tests.recipes.command import FAST, clinnlp, notes, write_jsonl

EVIL = "</script></style></title>\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x00"
VOID = ("meta", "input", "img", "br", "link")


class Page(HTMLParser):
    """A page as a reader gets it: the text of each cell without its tags, and the characters under each mark."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str]]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {"gold": [], "predicted": []}  # of each note
        self.covered: dict[str, list[dict[str, set[int]]]] = {"gold": [], "predicted": []}  # by title, of each note
        self.gaps: dict[str, set[int]] = defaultdict(set)
        self.tags: list[str] = []
        self.words: dict[str, list[str]] = defaultdict(list)  # by element, the whole text of each
        self.feed(page)
        self.close()
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        self.words[tag].append("")
        if tag not in VOID:
            self.open.append((tag, given))
        if tag == "article":
            for side in self.text:
                self.text[side].append("")
                self.covered[side].append(defaultdict(set))
        if given.get("class") == "tag":
            self.tags.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for tag in {tag for tag, _ in self.open}:
            self.words[tag][-1] += data
        if any(given.get("class") == "tag" for _, given in self.open):
            self.tags[-1] += data.replace("\xa0", " ")
            return
        side = next((given["class"] for tag, given in self.open if tag == "td"), None)
        if side is None:
            return
        inner = self.open[-1][1]
        if inner.get("class", "").startswith("esc"):
            assert data == chr(int(inner["title"][2:], 16)).encode("unicode_escape").decode()
            data = chr(int(inner["title"][2:], 16))
        start = len(self.text[side][-1])
        self.text[side][-1] += data
        for tag, had in self.open:
            if tag == "span" and had.get("class", "").startswith("mark"):
                self.covered[side][-1][had["title"]] |= set(range(start, start + len(data)))
            if tag == "span" and had.get("class", "").startswith("gap"):
                self.gaps[had["title"]] |= set(range(start, start + len(data)))


def note(text: str, *spans: Span, id: str = "1", labels: tuple[str, ...] = ()) -> Document:
    return Document(id, text, spans, labels)


CHARACTERS = st.sampled_from("ab \n\r\t<&\"'\x00\x85\u2028\u202e\u200d\u0301é大\U0001f600שع\ue000")


@st.composite
def spans_of(draw: st.DrawFn, length: int) -> list[Span]:
    found = []
    for _ in range(draw(st.integers(0, 6))):
        cuts = sorted(draw(st.lists(st.integers(0, length), min_size=2, max_size=4, unique=True)))
        pieces = tuple(zip(cuts[::2], cuts[1::2], strict=False))
        label = draw(st.sampled_from("AB"))
        found.append(Span(pieces[0][0], pieces[-1][1], label, fragments=pieces if len(pieces) > 1 else ()))
    return found


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_each_column_is_the_text_and_each_mark_its_span(data: st.DataObject) -> None:
    text = data.draw(st.text(CHARACTERS, min_size=1, max_size=40))
    sides = [data.draw(spans_of(len(text)) if len(text) > 1 else st.just([])) for _ in range(2)]
    page = Page(notes_page([note(text, *sides[0])], [note(text, *sides[1])], "t"))
    for side, spans in zip(("gold", "predicted"), sides, strict=True):
        assert page.text[side] == [text]
        expected: dict[str, set[int]] = {}
        for span in spans:
            pieces = span.fragments or ((span.start, span.end),)
            place = f"{span.label} " + " + ".join(f"{start}:{end}" for start, end in pieces)
            expected[place] = {at for start, end in pieces for at in range(start, end)}
        found = {title.rsplit(", ", 1)[0]: covered for title, covered in page.covered[side][0].items()}
        assert found == expected
    assert len(page.tags) == sum(len(span.fragments) or 1 for spans in sides for span in spans), "each piece has one"
    assert not any(0x202A <= ord(c) <= 0x202E for tag in page.words.values() for words in tag for c in words)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 30).flatmap(spans_of))
def test_spans_that_share_characters_take_different_lines(spans: list[Span]) -> None:
    placed = levels(spans)
    assert [span.start for span, _ in placed] == sorted(span.start for span in spans)
    for n, (a, level) in enumerate(placed):
        assert level is not None
        for b, other in placed[n + 1 :]:
            assert level != other or a.end <= b.start or b.end <= a.start


def test_nested_crossing_and_discontinuous_spans_are_cut_into_stretches() -> None:
    # 0123456789: A covers 0-8 and B 2-4 in it; C crosses A at 6-10; D is 0-1 and 9-10 with a gap between
    spans = (Span(0, 8, "A"), Span(2, 4, "B"), Span(6, 10, "C"), Span(0, 10, "D", fragments=((0, 1), (9, 10))))
    page = Page(notes_page([note("0123456789", *spans)], [note("0123456789", *spans)], "t"))
    assert page.tags == ["D 1/2", "A", "B", "C", "D 2/2"] * 2
    assert page.gaps == {"D 0:1 + 9:10, matched": set(range(1, 9))}
    lines = [(span.label, level) for span, level in levels(spans)]
    assert lines == [("D", 2), ("A", 1), ("B", 0), ("C", 0)], "inner spans next to the text"


def test_more_spans_than_can_be_drawn_are_named() -> None:
    spans = [Span(0, 3 + n, "A") for n in range(DEEPEST + 2)]
    page = notes_page([note("x" * 20, *spans)], [note("x" * 20)], "t")
    assert page.count('class="mark l') == sum(DEEPEST - max(0, n) for n in range(DEEPEST)), "outer ones in more parts"
    named = re.search(r"for more than 8 spans lie over each other: (.*?)\.</p>", page)
    assert named is not None and named[1] == "gold A 0:12, missed; gold A 0:11, missed"
    assert page.count("<li data-e=") == 10 and page.count('<a href="#m') == 8


def every_kind() -> tuple[list[Document], list[Document]]:
    text = "a" * 100
    gold = [
        Span(0, 5, "A"),  # matched
        Span(10, 15, "A"),  # missed
        Span(30, 35, "A"),  # type
        Span(40, 45, "A"),  # boundary
        Span(50, 55, "A"),  # boundary+type
        Span(60, 70, "B"),  # split
        Span(80, 84, "B"),  # merged
        Span(86, 90, "B"),
    ]
    predicted = [
        Span(0, 5, "A", 0.9, {"negated": True, "section": "plan", "family": False}),
        Span(20, 25, "A"),  # spurious
        Span(30, 35, "B"),
        Span(40, 46, "A"),
        Span(50, 56, "B"),
        Span(60, 64, "B"),
        Span(66, 70, "B"),
        Span(80, 90, "B"),
    ]
    golds = [note("no span", id="none"), note(text, *gold, id="all", labels=("X", "Y")), note(text, gold[0], id="one")]
    return golds, [
        note("no span", id="none"),
        note(text, *predicted, id="all", labels=("X", "Z")),
        note(text, Span(10, 15, "A"), id="one"),
    ]


def test_every_kind_of_error_is_named_counted_and_linked() -> None:
    page = notes_page(*every_kind(), "t", labels=True)
    read = Page(page)
    kinds = [given["data-k"] for tag, given in read.elements if tag == "li" and "data-e" in given]
    assert kinds == [
        *("note labels", "missed", "spurious", "type", "boundary", "boundary+type", "split", "merged"),
        *("missed", "spurious"),
    ]
    places = {given["data-e"]: given["data-l"] for tag, given in read.elements if tag == "li" and "data-e" in given}
    assert places["1"] == "3 4", "the labels A, B, X, Y, Z by place: X is in both"
    assert (places["2"], places["4"], places["7"]) == ("0", "0 1", "1")
    listed = [" ".join(words.split()) for words in read.words["li"][-10:]]
    assert listed[0] == "note labels: gold X, Y; predicted X, Z"
    assert listed[6] == "split: gold B 60:70 “aaaaaaaaaa”; predicted B 60:64 “aaaa”, B 66:70 “aaaa”"
    assert read.tags[-2:] == ["A missed", "A spurious"] and "A negated, section=plan" in read.tags
    legend = [" ".join(words.split()) for words in read.words["li"][:9]]
    assert legend == [
        *("matched 1", "missed 2", "spurious 2", "boundary 1", "type 1", "boundary+type 1", "split 1", "merged 1"),
        "note labels 1",
    ]
    anchors = [given["id"] for _, given in read.elements if given.get("id", "").startswith("m")]
    links = [given["href"][1:] for tag, given in read.elements if tag == "a" and given["href"] != "#notes"]
    assert sorted(anchors) == sorted(links) == sorted(f"m{n}" for n in range(2, 11)), (
        "all that have a place in the text"
    )
    assert (
        "8 gold and 8 predicted spans" in page and 'title="A 0:5, score 0.900, negated, section=plan, matched"' in page
    )


def test_notes_with_the_most_errors_come_first_and_the_rest_is_counted() -> None:
    page = notes_page(*every_kind(), "t")
    assert re.findall(r"Note <bdi>(\w+)</bdi>", page) == ["all", "one", "none"]
    assert re.findall(r'data-rank="(\d)" data-given="(\d)"', page) == [("0", "1"), ("1", "2"), ("2", "0")]
    assert "All 3 notes, with 9 errors." in page
    page = notes_page(*every_kind(), "t", limit=1)
    assert re.findall(r"Note <bdi>(\w+)</bdi>", page) == ["all"]
    assert "1 of 3 notes, those with the most errors: 7 of 9 errors." in page
    assert "All 0 notes, with 0 errors." in notes_page([], [], "t") and "No notes." in notes_page([], [], "t")


def test_notes_without_scored_spans_show_their_text_once() -> None:
    gold, predicted = [note("ab", Span(0, 1, "A"), labels=("X",))], [note("ab", labels=())]
    page = notes_page(gold, predicted, "t", spans=False, labels=True)
    read = Page(page)
    assert (read.text["gold"], read.text["predicted"]) == (["ab"], [""]) and not read.tags
    assert "All 1 notes, with 1 errors." in page and "note labels: gold" in page and "predicted none" in page


def test_nothing_of_the_notes_becomes_markup() -> None:
    gold = note(EVIL, Span(0, 9, EVIL, attributes={EVIL: EVIL}), Span(2, 4, EVIL), id=EVIL, labels=(EVIL,))
    page = notes_page([gold], [note(EVIL, Span(0, 8, EVIL), id=EVIL)], EVIL, labels=True)
    clean = notes_page([note("a", Span(0, 1, "A"))], [note("a")], "t")
    assert "\u202e" not in page and "\x00" not in page
    read, kinds = Page(page), {tag for tag, _ in Page(clean).elements}
    assert {tag for tag, _ in read.elements} - kinds == {"i"}, "escapes of characters, no other element"
    assert [tag for tag, _ in read.elements].count("script") == 1
    known = {(tag, name) for tag, given in Page(clean).elements for name in given}
    assert {(tag, name) for tag, given in read.elements for name in given} - known <= {("i", "class"), ("i", "title")}
    assert read.text["gold"] == [EVIL]


def test_only_the_pages_own_script_may_run_and_nothing_is_fetched() -> None:
    page = notes_page(*every_kind(), "t")
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert policy is not None and page.index("<meta charset") < policy.start() < page.index("<style>")
    assert policy[1].split("; ")[:3] == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval|fetch|XMLHttp|storage|cookie|location", script)
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bon\w+=", page)
    assert {given["href"][:2] for tag, given in Page(page).elements if tag == "a"} == {"#n", "#m"}


def test_the_page_says_that_it_holds_text() -> None:
    page = notes_page(*every_kind(), "t")
    assert "<strong>This page holds note text.</strong> It must not leave the place where the notes may be" in page
    assert page.index("This page holds note text") < page.index("<article")
    assert page == notes_page(*every_kind(), "t"), "the same bytes from the same notes"


def luminance(colour: str) -> float:
    parts = (
        [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        if len(colour) == 7
        else [int(c, 16) / 15 for c in colour[1:]]
    )
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: int) -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    blocks = re.findall(r":root \{(.*?)\}", notes_page([], [], "t"), flags=re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", blocks[scheme]))
    for ink in ("ink", "soft"):
        for ground in ("page", "card"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["warn"]) >= 4.5 and contrast(colours["ink"], colours["track"]) >= 4.5
    for line in ("matched", "missed", "spurious", "bounds", "type", "edge", "focus", "warn-edge"):
        assert contrast(colours[line], colours["card"]) >= 3, line
    for kind in ("matched", "missed", "spurious", "bounds", "type"):  # text on the tint of one mark over another
        mixed = [
            round(0.64 * int(_long(colours["card"])[n : n + 2], 16) + 0.36 * int(_long(colours[kind])[n : n + 2], 16))
            for n in (1, 3, 5)
        ]
        assert contrast(colours["ink"], "#{:02x}{:02x}{:02x}".format(*mixed)) >= 4.5, kind


def _long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_file_is_its_owners_alone(mask: int, tmp_path: Path) -> None:
    path, sides = tmp_path / "notes.html", every_kind()
    path.write_text("old", encoding="utf-8")
    path.chmod(0o644)
    (tmp_path / "notes.html.tmp").write_text("left by an interrupted run", encoding="utf-8")
    before = os.umask(mask)
    try:
        write_notes_page(path, *sides, evaluate(*sides), "t")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [other.name for other in tmp_path.iterdir()] == ["notes.html"]
    assert path.read_bytes().decode() == notes_page(*sides, "t", labels=True), "both parts are scored, both are shown"


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as storage:
        write_notes_page(tmp_path / "absent" / "notes.html", [], [], Report(), "t")
    assert str(storage.value) == f"{tmp_path}/absent/notes.html: cannot write: No such file or directory."
    with pytest.raises(UsageError) as usage:
        notes_page([], [], "t", limit=0)
    assert str(usage.value) == "with_text_notes: the page needs at least one note. Next: give a number from 1."
    with pytest.raises(DataError, match="gold and predictions hold different documents: 1 of 1"):
        notes_page([note("a")], [], "t")


def test_evaluate_writes_the_page_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = notes(6, "test")
    gold = write_jsonl(tmp_path / "gold.jsonl", made)
    said = write_jsonl(tmp_path / "said.jsonl", [one | {"spans": one["spans"][:1]} for one in made])
    words = ("evaluate", "--predictions", said, "--data.test", gold, "--task", "ner")
    assert clinnlp(*words, "--out", tmp_path / "without") == 0
    assert not (tmp_path / "without" / "notes.html").exists()
    capsys.readouterr()
    assert clinnlp(*words, "--with_text", "--with_text_notes", 4, "--out", tmp_path / "with") == 0
    told = capsys.readouterr()
    path = tmp_path / "with" / "notes.html"
    assert f"warning: {path} holds note text: keep it where the notes may be" in told.err
    page = path.read_text(encoding="utf-8")
    assert "4 of 6 notes, those with the most errors: 4 of 6 errors." in page and "follow up in 2 weeks" in page
    assert path.stat().st_mode & 0o777 == 0o600
    others = (tmp_path / "with").glob("*")
    assert not any(b"follow up" in other.read_bytes() for other in others if other != path), "text is in no other file"
    assert "follow up" not in told.out + told.err
    assert "<script" not in (tmp_path / "with" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words", [("evaluate", "--predictions", "p", "--data.test", "g"), ("finetune", "--base", "b")], ids=lambda w: w[0]
)
def test_a_page_of_no_notes_is_refused(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp(*words, "--with_text_notes", 0, "--out", tmp_path / "out") == 2
    assert "with_text_notes: must be 1 or more." in capsys.readouterr().err


@pytest.mark.slow
def test_finetune_writes_the_page_of_the_notes_it_scored(tmp_path: Path, tiny: Callable[[str], Path]) -> None:
    data = [f"--data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', notes(6, name))}" for name in ("train", "test")]
    words = ("--fit.max_steps", 1, *FAST, "--with_text", "--out", tmp_path / "run")
    assert clinnlp("finetune", "--base", tiny("bert"), *data, *words) == 0
    page = tmp_path / "run" / "notes.html"
    assert "<h1>clinnlp finetune: scores on test</h1>" in page.read_text(encoding="utf-8")
    assert page.stat().st_mode & 0o777 == 0o600
    assert re.findall(r"Note <bdi>(\S+)</bdi>", page.read_text(encoding="utf-8")).count("test-0") == 1


def test_the_window_of_a_span_is_no_attribute_to_look_at() -> None:
    span = Span(0, 5, "A", attributes={"negated": True, "certainty": "low", "window": 3})
    assert named(span, "fever")["about"] == "negated, certainty=low"
