"""JSONL: every bad line is set aside with its place, and without a word of what it said."""

import json
import tracemalloc
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import DataError, UnsafeError
from clinnlp.formats import _bytes
from clinnlp.formats.base import read, read_records, write
from clinnlp.formats.jsonl import Jsonl

GOOD = b'{"id": "g", "text": "fine"}\n'
SECRET = "Qvortrup"
BAD = {
    "torn": (b'{"id": "1", "text": "Qvortrup', "not valid JSON at character"),
    "two objects": (b'{"text": "Qvortrup"} {"text": "b"}', "not valid JSON"),
    "list": (b'["Qvortrup"]', "a list, not an object"),
    "utf8": (b'{"text": "Qvortrup \xe9"}', "not valid UTF-8 at byte 47"),
    "surrogate": (b'{"text": "Qvortrup \\ud83d"}', "lone surrogate"),
    "surrogate in label": (b'{"text": "Qvortrup", "labels": ["\\ud83d"]}', "lone surrogate"),
    "no text": (b'{"id": "Qvortrup"}', "field 'text' is missing"),
    "null": (b'{"id": "Qvortrup", "text": null}', "field 'text' is null, not a string"),
    "number": (b'{"id": "Qvortrup", "text": 5}', "field 'text' is int, not a string"),
    "twice": (b'{"text": "a", "text": "Qvortrup"}', "the same key twice"),
    "nan": (b'{"text": "Qvortrup", "x": NaN}', "NaN or Infinity"),
    "huge float": (b'{"text": "Qvortrup", "x": 1e999}', "too large for a float"),
    "huge int": (b'{"text": "Qvortrup", "x": ' + b"9" * 5000 + b"}", "too many digits"),
    "deep": (b'{"text": "Qvortrup", "x": ' + b"[" * 200_000, "nested too deeply"),
    "float id": (b'{"id": 1.5, "text": "Qvortrup"}', "field 'id' is float: store it as a string"),
    "null id": (b'{"id": null, "text": "Qvortrup"}', "field 'id' is null"),
    "outside": (b'{"text": "Qvortrup", "spans": [{"start": 0, "end": 9, "label": "X"}]}', "outside the text of 8"),
    "reversed": (b'{"text": "Qvortrup", "spans": [{"start": 3, "end": 3, "label": "X"}]}', "span 1 is empty or"),
    "surface": (
        b'{"text": "Qvortrup", "spans": [{"start": 0, "end": 3, "label": "X", "text": "Qvo "}]}',
        "text of span 1",
    ),
    "offset": (
        b'{"text": "Qvortrup", "spans": [{"start": "0", "end": 3, "label": "X"}]}',
        "an offset of span 1 is str",
    ),
    "label": (b'{"text": "Qvortrup", "spans": [{"start": 0, "end": 3}]}', "the label of span 1 is null"),
    "spans": (b'{"text": "Qvortrup", "spans": "X"}', "field 'spans' is str, not a list"),
    "fragments": (
        b'{"text": "Qvortrup", "spans": [{"start": 0, "end": 5, "label": "X", "fragments": [[0, 3], [2, 5]]}]}',
        "fragments of span 1 overlap",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_set_aside_and_the_rest_is_read(case: str, tmp_path: Path) -> None:
    raw, reason = BAD[case]
    path = tmp_path / "n.jsonl"
    path.write_bytes(GOOD + raw + b"\n" + GOOD)
    records = list(read_records(path, "jsonl"))
    assert [type(r) for r in records] == [Document, Quarantined, Document]
    assert records[1].where == "n.jsonl line 2"
    assert reason in records[1].reason
    assert SECRET not in str(records[1])
    with pytest.raises(DataError, match=r"n\.jsonl line 2: .*Next: correct or remove this record\.") as error:
        list(read(path, "jsonl"))
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(("unit", "start", "end"), [("UTF-8 bytes", 5, 10), ("UTF-16 units", 3, 8)])
@pytest.mark.parametrize("rest", ["", " and more"], ids=["outside", "inside"])
def test_offsets_in_another_unit_are_named(unit: str, start: int, end: int, rest: str, tmp_path: Path) -> None:
    span = {"start": start, "end": end, "label": "X", "text": "fever"}
    path = tmp_path / "n.jsonl"
    path.write_text(json.dumps({"text": f"\U0001f600 fever{rest}", "spans": [span]}))
    (record,) = read_records(path, "jsonl")
    assert record == Quarantined("n.jsonl line 1", f"the offsets count {unit}: convert them to characters")


def test_only_a_line_feed_ends_a_record(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    text = "a\u2028b\x85c\x0bd\re"
    line = json.dumps({"text": text}, ensure_ascii=False).replace("\\u000b", "\\u000b")
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n  \n" + line.encode())
    documents = list(read(path, "jsonl"))
    assert [d.text for d in documents] == [text, text]
    assert [d.id for d in documents] == ["1", "4"]


def test_utf16_is_refused_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    path.write_bytes((GOOD.decode() * 2).encode("utf-16"))
    records = list(read_records(path, "jsonl"))
    assert all(isinstance(r, Quarantined) for r in records)
    assert records[0].reason == "the file is UTF-16: convert it to UTF-8"


def test_fields_options_and_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    record = {"n": 12, "note": "ab", "class": "X", "patient": 9007199254740993, "source": [1], "meta": {"k": 2}}
    path.write_text(json.dumps(record) + "\n" + json.dumps(record | {"meta": {"source": 3}}))
    reader = Jsonl(id_field="n", text_field="note", labels_field="class", group_field="patient")
    first, second = read(path, reader)
    assert first == Document("12", "ab", (), ("X",), "9007199254740993", {"k": 2, "source": [1]})
    assert second.meta == {"meta": {"source": 3}, "source": [1]}
    write([first, second], tmp_path / "back.jsonl", reader)
    assert list(read(tmp_path / "back.jsonl", reader)) == [first, second]
    with pytest.raises(DataError, match="field 'nr' is missing"):
        list(read(path, Jsonl(id_field="nr", text_field="note")))
    with pytest.raises(DataError, match="have one name"):
        list(read(path, Jsonl(text_field="id")))


def test_span_fields(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    span = {
        "start": 0,
        "end": 8,
        "label": "L",
        "text": "ab ef",
        "fragments": [[6, 8], [0, 2]],
        "score": 0.5,
        "by": "me",
    }
    path.write_text(json.dumps({"text": "ab cd ef", "spans": [span], "labels": None, "group": ""}))
    (document,) = read(path, "jsonl")
    assert document.spans == (Span(0, 8, "L", 0.5, {"by": "me"}, ((0, 2), (6, 8))),)
    assert document.group is None


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="meta or attributes hold what JSON cannot"):
        write([Document("1", "a", meta={"x": object()})], tmp_path / "n.jsonl", "jsonl")
    with pytest.raises(DataError, match="lone surrogate"):
        write([Document("\ud800", "a")], tmp_path / "n.jsonl", "jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(_bytes, "RATIO_FROM", 2**21)
    path = tmp_path / "n.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * 2**25))
    with pytest.raises(UnsafeError, match="unpacks to far more than text does"):
        list(read(path, "jsonl"))


def test_a_line_without_end_is_set_aside_and_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bytes, "MAX_LINE", 2**21)
    path = tmp_path / "n.jsonl"
    most = b'{"text": "' + b"x" * (2**21 - 13) + b'"}\n'
    assert len(most) == 2**21
    path.write_bytes(GOOD + b" " * 2**23 + b"\n" + most + most[:-1] + b" \n" + GOOD + b"y" * 2**26)
    tracemalloc.start()
    records = list(read_records(path, "jsonl"))
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
    kinds = [type(record) for record in records]
    assert kinds == [Document, Quarantined, Document, Quarantined, Document, Quarantined]
    assert records[1] == Quarantined("n.jsonl line 2", "longer than 2097152 bytes")
    path.write_bytes(b"x" * 2**23 + b'\n{"text": "\xe9"}')
    assert "not valid UTF-8 at byte 8388619" in list(read_records(path, "jsonl"))[1].reason, "places are true behind it"
    with pytest.raises(DataError, match=r"n\.jsonl: line 1 is longer than 2097152 bytes"):
        list(read(path, "csv"))


def test_what_looks_like_a_time_or_a_number_stays_a_string(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    path.write_bytes(b'{"id": "2024-01-02", "text": "2024-01-02T03:04:05Z", "when": "12:30", "n": "1e5"}\n')
    (document,) = read(path, "jsonl")
    assert (document.id, document.text) == ("2024-01-02", "2024-01-02T03:04:05Z")
    assert document.meta == {"when": "12:30", "n": "1e5"}
