"""Tables on disk: equal bytes for equal labels, and the reader that trusts only what is committed."""

import io
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError
from clinnlp.formats.brat import Brat
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import TOGETHER, Aside, quarantine_lines, read_labels, tables
from clinnlp.labeling.plan import Record
from clinnlp.labeling.predict import NO_TOKENS
from clinnlp.labeling.shard import sort_out
from clinnlp.labeling.source import Notes
from tests.labeling.fakes import label, notes


def test_shards_read_back_in_order_with_one_row_for_each_record(tmp_path: Path) -> None:
    records = notes(12)
    records.insert(3, Quarantined("x line 3", "torn", None))
    records.insert(7, Document("blank", "\u200b \n"))
    label(tmp_path, records)
    spans, documents = read_labels(tmp_path)
    assert documents.ordinal.tolist() == list(range(14))
    assert documents.document_id.fillna("-").tolist() == [getattr(r, "id", None) or "-" for r in records]
    assert spans.drop(columns="window").iloc[0].to_dict() == {
        "document_id": "note-0", "start": 0, "end": 1, "label": "PROBLEM", "score": spans.score[0], "ordinal": 0,
    }  # fmt: skip
    assert str(spans.score[0]) == "0.12346", "five decimals"
    assert documents.status.tolist() == [*["labeled"] * 3, "quarantined", *["labeled"] * 3, "empty", *["labeled"] * 6]
    aside = documents.iloc[3]
    assert (aside.characters_read, aside.spans) == (0, 0) and aside.isna().characters and aside.isna().document_id


def test_a_run_that_is_not_finished_gives_what_is_committed(tmp_path: Path) -> None:
    label(tmp_path, notes(9))
    (tmp_path / "commits" / "000" / "000001.json").unlink()
    (tmp_path / "documents" / "000001-beef.parquet").write_bytes(b"PAR1 half")
    spans, documents = read_labels(tmp_path)
    assert documents.document_id.tolist() == [f"note-{n}" for n in (0, 1, 2, 6, 7, 8)]
    assert spans.ordinal.tolist() == [0, 1, 2, 6, 7, 8]


def test_a_run_of_no_notes(tmp_path: Path) -> None:
    assert label(tmp_path, []).as_dict()["input"] == 0
    spans, documents = read_labels(tmp_path)
    assert (len(spans), len(documents)) == (0, 0)
    assert "status" in documents and "label" in spans


def test_equal_labels_are_equal_bytes() -> None:
    document = Document("a", "fever", (Span(0, 5, "X", 0.25),), ("l",), meta={"label_scores": {"l": 0.75}})
    assert tables(0, [document], ["labeled"]) == tables(0, [document], ["labeled"])
    assert tables(0, [document], ["labeled"]) != tables(1, [document], ["labeled"])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.data())
def test_offsets_in_other_units_cut_out_the_same(text: str, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(text) - 1))
    end = draw.draw(st.integers(start + 1, len(text)))
    document = Document("a", text, (Span(start, end, "X", attributes={"window": 3}), Span(0, len(text), "Y")))
    held = tables(0, [Document("b", "é", (Span(0, 1, "X"),)), document], ["labeled"] * 2, ("utf16", "bytes"))
    rows = pyarrow.parquet.read_table(io.BytesIO(held["spans"])).to_pylist()
    assert [row["window"] for row in rows] == [None, 3, None]
    for row in rows[1:]:
        surface = text[row["start"] : row["end"]]
        utf16, utf8 = text.encode("utf-16-le"), text.encode()
        assert utf16[2 * row["start_utf16"] : 2 * row["end_utf16"]].decode("utf-16-le") == surface
        assert utf8[row["start_byte"] : row["end_byte"]].decode() == surface


def test_fields_of_notes_that_are_called_as_ours_are_not_taken_for_ours() -> None:
    """A field of a hospital may be called label_scores, an attribute window: that is no answer of the model."""
    attributes = {"window": "evening", "model": "x", "negated": True}
    meta = {"label_scores": "high", TOGETHER: 3, NO_TOKENS: 1, "when": "today"}
    given = Document("1", "no fever", (Span(3, 8, "PROBLEM", 0.5, attributes),), ("mine",), "patient", meta)
    (seen,) = sort_out([given], 0, 99, {})
    assert seen == Document("1", "no fever", (Span(3, 8, "PROBLEM", 0.5, {"negated": True}),))


@pytest.mark.parametrize(
    ("name", "value"), [("max_failures", -0.1), ("max_failures", 20), ("workers", -1), ("max_characters", 0)]
)
def test_options_out_of_their_bounds(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


def test_labels_do_not_lie_where_the_next_run_looks_for_notes(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for path in ("notes", "notes/**/*.jsonl", "**/*.jsonl", "notes/../notes"):
        with pytest.raises(ConfigError, match="the labels would lie among the notes"):
            Notes(str(tmp_path / path), Jsonl()).check_apart(str(tmp_path / "notes" / "labels"))
    for path, format, out in (
        ("notes", Jsonl(), "labels"),
        ("notes", Jsonl(), "notes/.labels"),
        ("notes/*.jsonl", Jsonl(), "notes/labels"),
        ("notes/a.jsonl", Jsonl(), "notes/labels"),
        ("notes", Brat(), "notes/labels"),
    ):
        Notes(str(tmp_path / path), format).check_apart(str(tmp_path / out))


def test_offsets_are_asked_for_by_name(tmp_path: Path) -> None:
    records: list[Record] = [Document("a", "😀é fever"), Document("b", "RAISE")]
    options = Options(workers=0, offsets="bytes,utf16")
    assert options.offsets == ("utf16", "bytes")
    label(tmp_path / "a", records, options=options)
    first = read_labels(tmp_path / "a").spans.iloc[0]
    assert (first.start, first.end, first.start_utf16, first.end_utf16, first.start_byte, first.end_byte) == (
        0, 1, 0, 2, 0, 4,
    )  # fmt: skip
    label(tmp_path / "b", records, options=Options(workers=0))
    assert list(read_labels(tmp_path / "b").spans.columns)[-1] == "window"
    with pytest.raises(ConfigError) as error:
        Options(offsets="utf32,bytes")
    assert str(error.value) == "offsets: 1 unknown units. Next: there are utf16, bytes."


def test_quarantine_holds_no_text_unless_it_is_asked_for() -> None:
    aside = {7: Aside("CLN-D301", "the model failed (X)", "note 8 of the input", "Qvortrup", "Qvortrup has fever")}
    assert quarantine_lines(aside, {7: "abc"}, False) == (
        b'{"code": "CLN-D301", "reason": "the model failed (X)", "where": "note 8 of the input", "ordinal": 7, '
        b'"doc_ref": "abc"}\n'
    )
    assert quarantine_lines(aside, {7: "abc"}, True).count(b"Qvortrup") == 2


def test_text_is_in_the_quarantine_file_only_on_request(tmp_path: Path) -> None:
    options = Options(shard_documents=3, workers=0)
    label(tmp_path / "a", notes(2, text="RAISE"), options=options)
    label(tmp_path / "b", notes(2, text="RAISE"), options=Options(workers=0, quarantine_text=True))
    held = {path.name: b"".join(f.read_bytes() for f in path.rglob("*") if f.is_file()) for path in tmp_path.iterdir()}
    assert b"RAISE 1" not in held["a"]
    assert b"RAISE 1" in held["b"]
