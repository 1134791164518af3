"""Any documents come back exactly from the formats that lose nothing."""

import string
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.formats.base import read, write

ANY = st.characters(blacklist_categories=["Cs"])
SPECIAL = st.sampled_from(
    [
        "\r",
        "\n",
        "\r\n",
        "\x0b",
        "\x0c",
        "\x85",
        "\u2028",
        "\x00",
        "\ufeff",
        '"',
        ",",
        "\t",
        "\U0001f600",
        "e\u0301",
        "NA",
    ]
)
TEXT = st.lists(st.one_of(ANY, SPECIAL), max_size=30).map("".join)
LABEL = st.one_of(
    st.sampled_from(["PROBLEM", "creative-work", "a b", "50%", "%20"]), st.text(ANY, min_size=1, max_size=5)
)
EXACT = ["brat", "csv", "docbin", "jsonl", "parquet"]


@st.composite
def documents(draw: st.DrawFn) -> list[Document]:
    made = []
    ids = draw(
        st.lists(
            st.one_of(
                st.text(ANY, max_size=8),
                st.sampled_from(["Ab", "ab", "..", "../../x", "0012", "a/b", "x" * 300, "README", "%41"]),
            ),
            unique=True,
            max_size=4,
        )
    )
    for id in ids:
        text = draw(TEXT)
        spans = []
        for _ in range(draw(st.integers(0, 3)) if text else 0):
            start = draw(st.integers(0, len(text) - 1))
            end = draw(st.integers(start + 1, len(text)))
            score = draw(st.one_of(st.none(), st.floats(0, 1)))
            attributes = draw(
                st.dictionaries(
                    st.text(string.ascii_letters, min_size=1, max_size=3),
                    st.one_of(LABEL, st.just(True), st.integers(), st.lists(LABEL, max_size=2)),
                    max_size=2,
                )
            )
            spans.append(Span(start, end, draw(LABEL), score, attributes))
        group = draw(st.one_of(st.none(), st.text(ANY, min_size=1, max_size=5)))
        labels = tuple(draw(st.lists(st.text(ANY, max_size=5), max_size=2)))
        meta = draw(
            st.dictionaries(
                st.sampled_from(["a", "meta", "text", "id"]),
                st.one_of(LABEL, st.integers(), st.none(), st.just({"k": [1]})),
                max_size=2,
            )
        )
        made.append(Document(id, text, tuple(spans), labels, group, meta))
    return made


TWINS = [Document("1", "pain", (Span(0, 4, "A"), Span(0, 4, "A", 0.5), Span(0, 4, "A", 0.25)))]


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
@example(TWINS)
def test_any_documents_come_back_exactly(name: str, given_documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x" / ("notes" if name == "brat" else f"notes.{name}")
        counts = write(given_documents, path, name)
        assert counts["documents"] == len(given_documents)
        if not given_documents:
            return
        back = list(read(path, name))
        assert sorted(back, key=lambda d: d.id) == sorted(given_documents, key=lambda d: d.id)
        outside = [
            p
            for p in Path(folder).rglob("*")
            if p.is_file() and (path if name == "brat" else path.parent) not in p.parents
        ]
        assert outside == []


@pytest.mark.parametrize("name", EXACT)
def test_long_and_odd_notes_come_back_exactly(name: str, tmp_path: Path) -> None:
    texts = {
        "long": "a \u00e9" * 350_000,
        "one": "x",
        "blank": " \t ",
        "cr": "a\rb\r\n\nc\x0bd\u2028e\r",
        "bom": "\ufeffx",
    }
    made = [Document(id, text, (Span(0, 1, "L"),)) for id, text in texts.items()]
    path = tmp_path / ("notes" if name == "brat" else f"notes.{name}")
    write(made, path, name)
    assert sorted(read(path, name), key=lambda d: d.id) == sorted(made, key=lambda d: d.id)


@pytest.mark.parametrize("name", EXACT)
def test_discontinuous_spans_come_back_exactly(name: str, tmp_path: Path) -> None:
    made = [Document("d", "left and right arm", (Span(0, 18, "SITE", fragments=((0, 4), (15, 18))),))]
    path = tmp_path / ("notes" if name == "brat" else f"notes.{name}")
    write(made, path, name)
    assert list(read(path, name)) == made
