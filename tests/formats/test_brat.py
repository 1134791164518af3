"""Brat: offsets as the bytes say, ids that are safe as file names, nothing lost on the way back."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError, DataError, StorageError
from clinnlp.formats import _bytes
from clinnlp.formats.base import read, read_records, write
from clinnlp.formats.brat import Brat


def corpus(shared: Path, name: str) -> Path:
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"the corpus {name} is not in the shared folder")
    return path


def pair(tmp_path: Path, text: bytes, ann: bytes | None, reader: Brat | None = None) -> Document | Quarantined:
    (tmp_path / "n.txt").write_bytes(text)
    if ann is not None:
        (tmp_path / "n.ann").write_bytes(ann)
    (record,) = read_records(tmp_path, reader or Brat())
    return record


@pytest.mark.parametrize(("scope", "refused", "spans", "odd"), [("with", 3, 48870, 4), ("without", 3, 44616, 3)])
def test_chia(scope: str, refused: int, spans: int, odd: int, shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(corpus(shared, "chia") / f"chia_{scope}_scope.zip") as packed:
        packed.extractall(tmp_path / "in")
    bad: list[Quarantined] = []
    strict = sum(1 for _ in read(tmp_path / "in", "brat", bad))
    assert (strict, len(bad)) == (2000 - refused, refused)
    documents = list(read(tmp_path / "in", Brat(mismatches="count")))
    assert len(documents) == 2000
    assert sum(len(d.spans) for d in documents) == spans
    assert sum(d.meta.get("surface_mismatches", 0) for d in documents) == odd
    assert sum("\r\n" in d.text for d in documents) == 1603
    if scope == "without":
        assert sum(bool(s.fragments) for d in documents for s in d.spans) == 1796
        return
    assert sum(bool(s.fragments) for d in documents for s in d.spans) == 1822
    subset = documents[::10]
    assert write(subset, tmp_path / "out", "brat")["brat_lines_dropped"] == 0
    back = {d.id: d for d in read(tmp_path / "out", "brat")}
    for document in subset:
        assert back[document.id].text == document.text
        assert back[document.id].spans == document.spans
        assert back[document.id].meta.get("brat") == document.meta.get("brat")


@pytest.mark.parametrize(
    ("name", "documents", "spans"),
    [("meddocan", 1000, 22795), ("maccrobat2020", 200, 25189), ("ncbi_disease/standoff", 793, 6892)],
)
def test_corpora_that_verify_in_full(name: str, documents: int, spans: int, shared: Path) -> None:
    found = Counter[str]()
    for document in read(corpus(shared, name), "brat"):
        found["documents"] += 1
        found["spans"] += len(document.spans)
        found["bom"] += document.text.startswith("\ufeff")
        found["discontinuous"] += sum(bool(span.fragments) for span in document.spans)
    assert (found["documents"], found["spans"]) == (documents, spans)
    assert found["bom"] == (32 if name == "meddocan" else 0)
    assert found["discontinuous"] == (44 if name == "maccrobat2020" else 0)


TEXT = b"Fever, \xe2\x82\xac5 and cough\r\nright arm"


@pytest.mark.parametrize(
    ("ann", "where", "reason"),
    [
        (b"T1\tX 0 5\tFevr\n", "n.ann line 1", "the surface is not what stands at the offsets: check the line ends"),
        (b"T1\tX 0 5\tFever\nT2\tX 16 21\tcough\n", "n.ann line 2", "the offsets count UTF-8 bytes"),
        (b"T1\tX 0 99\tFever", "n.ann line 1", "a span ends outside the text of 30 characters"),
        (b"T1\tX 29 32\tarm", "n.ann line 1", "the offsets count UTF-8 bytes: convert them to characters"),
        (b"T1\tX 5 5\t", "n.ann line 1", "a span is empty or reversed"),
        (b"T1\tX 0 3;2 5\tFev ver", "n.ann line 1", "the fragments of a span overlap"),
        (b"T1\tX zero\tFever", "n.ann line 1", "no label with start and end"),
        (b"T1\tX 0 5\tFever\nT1\tX 0 5\tFever", "n.ann line 2", "an annotation id that an earlier line has"),
        (b"T1\tX 0 5\tFever\nFever\n", "n.ann line 2", "no line of brat"),
        (b"T1\tX 0 5\tFev\xe9r\n", "n.ann", "not valid UTF-8 at byte 12"),
    ],
)
def test_bad_lines(ann: bytes, where: str, reason: str, tmp_path: Path) -> None:
    record = pair(tmp_path, TEXT, ann)
    assert isinstance(record, Quarantined)
    assert record.where == where
    assert reason in record.reason
    assert "Fev" not in record.reason


def test_spans_attributes_and_other_lines(tmp_path: Path) -> None:
    ann = (
        "T1\tProblem 0 5\tFever\r\nT7\tSite 27 30;21 24\tarm rig\nA1\tNegation T1\nA2\tCertainty T1 not sure\n"
        "R1\tAt Arg1:T1 Arg2:T7\n*\tOR T1 T7\n#1\tAnnotatorNotes T1\tsee T9\nE1\tProblem:T1 \nA3\tNegation E1\n"
    )
    document = pair(tmp_path, TEXT, ann.encode())
    assert isinstance(document, Document)
    assert document.spans == (
        Span(0, 5, "Problem", attributes={"Negation": True, "Certainty": "not sure", "brat_id": "T1"}),
        Span(21, 30, "Site", attributes={"brat_id": "T7"}, fragments=((21, 24), (27, 30))),
    )
    assert len(document.meta["brat"]) == 5
    assert write([document], tmp_path / "out", "brat")["brat_lines_dropped"] == 0
    assert list(read(tmp_path / "out", "brat")) == [document]
    fewer = Document("n", document.text, document.spans[:1], meta=document.meta)
    assert write([fewer], tmp_path / "out", "brat")["brat_lines_dropped"] == 2


def test_surface_over_several_lines(tmp_path: Path) -> None:
    document = pair(tmp_path, b"a fever\r\nEvery day", b"T1\tX 2 7;9 18\tfever\n Every day\nT2\tY 0 1\ta\n")
    assert isinstance(document, Document)
    assert [span.label for span in document.spans] == ["X", "Y"]


def test_what_is_a_note(tmp_path: Path) -> None:
    for name in ("a.txt", "b.ann", "LICENCE-NOTE.txt", "README.txt", "notice.txt", "notice.ann"):
        (tmp_path / name).write_text("")
    records = list(read_records(tmp_path, "brat"))
    assert records == [
        Document("a", "", meta={"unannotated": True}),
        Quarantined("b.ann", "there is no .txt of this name beside it"),
        Document("notice", ""),
    ]
    assert list(read_records(str(tmp_path / "*"), "brat")) == records
    assert list(read_records(tmp_path / "notice.ann", "brat")) == records[2:]
    write(records[:1], tmp_path / "out", "brat")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.txt"]


def test_a_note_too_long_to_be_one_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bytes, "MAX_LINE", 100)
    assert isinstance(pair(tmp_path, b"x" * 100, b""), Document)
    assert pair(tmp_path, b"x" * 101, b"") == Quarantined("n.txt", "longer than 100 bytes")
    assert pair(tmp_path, b"x", b"#" * 101) == Quarantined("n.ann", "longer than 100 bytes")


def test_bad_text(tmp_path: Path) -> None:
    assert pair(tmp_path, b"caf\xe9", b"") == Quarantined(
        "n.txt", "not valid UTF-8 at byte 3: if the file is cp1252 or latin-1, convert it to UTF-8"
    )


def test_ids_never_leave_the_folder(tmp_path: Path) -> None:
    ids = ["../../x", "/etc/passwd", "..", "", "a\x00b", "con:1", "Ab", "ab", "\u00e9" * 200, ".hidden"]
    ids += ["C:\\x", "a.", "a\nb", "x" * 300, "=1+1", "%2e%2e", "con"]
    documents = [Document(id, id) for id in ids]
    write(documents, tmp_path / "deep" / "out", "brat")
    assert {p.parent for p in tmp_path.rglob("*") if p.is_file()} == {tmp_path / "deep" / "out"}
    names = [p.name for p in (tmp_path / "deep" / "out").glob("*.txt")]
    assert len({name.casefold() for name in names}) == len(ids)
    assert max(map(len, names)) < 200
    assert {d.id: d.text for d in read(tmp_path / "deep" / "out", "brat")} == {id: id for id in ids}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="document 2 has the id of an earlier one"):
        write([Document("secret", ""), Document("secret", "")], tmp_path / "out", "brat")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file, but brat writes a folder"):
        write([], tmp_path / "file", "brat")
    with pytest.raises(ConfigError, match="neither 'refuse' nor 'count'"):
        pair(tmp_path, b"", b"", Brat(mismatches="ignore"))


def test_writing_again_leaves_no_old_sidecar(tmp_path: Path) -> None:
    write([Document("a", "x", labels=("L",))], tmp_path / "out", "brat")
    write([Document("a", "x", meta={"unannotated": True})], tmp_path / "out", "brat")
    assert list(read(tmp_path / "out", "brat")) == [Document("a", "x", meta={"unannotated": True})]
