"""PubTator: surfaces verify on the real files, relations and identifiers come back."""

from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.formats.base import read, read_records, write
from clinnlp.formats.pubtator import Pubtator

COUNTS = {
    "ncbi_disease/original-data/train/NCBItrainset_corpus.txt": (593, 5145, 0),
    "ncbi_disease/original-data/devel/NCBIdevelopset_corpus.txt": (100, 787, 0),
    "ncbi_disease/original-data/test/NCBItestset_corpus.txt": (100, 960, 0),
    "bc5cdr_pubtator/CDR_TrainingSet.PubTator.txt.gz": (500, 9385, 1038),
    "bc5cdr_pubtator/CDR_DevelopmentSet.PubTator.txt.gz": (500, 9591, 1012),
    "bc5cdr_pubtator/CDR_TestSet.PubTator.txt.gz": (500, 9809, 1066),
}


@pytest.mark.parametrize("file", COUNTS)
def test_real_files_verify_and_come_back(file: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / file
    if not path.exists():
        pytest.skip(f"the corpus {file.partition('/')[0]} is not in the shared folder")
    documents = list(read(path, "pubtator"))
    relations = sum(len(d.meta.get("relations", ())) for d in documents)
    assert (len(documents), sum(len(d.spans) for d in documents), relations) == COUNTS[file]
    if "NCBItrain" in file:
        assert sum(d.id == "8528200" for d in documents) == 2
    out = tmp_path / "out.pubtator.gz"
    counts = write(documents, out, "pubtator")
    assert not any(count for name, count in counts.items() if name not in ("documents", "spans"))
    assert list(read(out, "pubtator")) == documents


GOOD = "1|t|Fever\n1|a|and cough\n1\t0\t5\tFever\tX\tD1\n"


@pytest.mark.parametrize(
    ("block", "line", "reason"),
    [
        ("2|t|Fever\n2|a|b\n2\t0\t5\tFevr\tX", 7, "the surface is not what stands at the offsets"),
        ("2|t|\U0001f600 Fever now\n2\t3\t8\tFever\tX", 6, "the offsets count UTF-16 units"),
        ("2|t|\U0001f600 Fever\n2\t5\t10\tFever\tX", 6, "the offsets count UTF-8 bytes"),
        ("2|t|Fever\n2\t0\t99\tFever\tX", 6, "a span ends outside the text of 5 characters"),
        ("2|t|Fever\n2\t3\t3\tFever\tX", 6, "empty or reversed"),
        ("2|t|Fever\n2\t3\tx\tFever\tX", 6, "an offset is not a number"),
        ("2|t|Fever\n3\t0\t5\tFever\tX", 6, "the line has another id"),
        ("2|t|Fever\n3|a|Fever", 6, "after the title comes the abstract of the same id"),
        ("2|t|Fever\n2\tFever", 6, "neither a span"),
        ("Fever\n2|a|b", 5, "a document must start with its title"),
    ],
)
def test_bad_lines_set_their_document_aside(block: str, line: int, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "n.pubtator"
    path.write_bytes(f"{GOOD}\n{block}\n\n{GOOD}".encode())
    first, bad, last = read_records(path, "pubtator")
    assert first == last == Document("1", "Fever\nand cough", (Span(0, 5, "X", attributes={"identifier": "D1"}),))
    assert isinstance(bad, Quarantined)
    assert bad.where == f"n.pubtator line {line}"
    assert reason in bad.reason
    assert "Fev" not in bad.reason


def test_mismatches_can_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "n.pubtator"
    path.write_bytes(b"\xef\xbb\xbf1|t|Fever\r\n1\t0\t5\tFevr\tX\r\n")
    (document,) = read(path, Pubtator(mismatches="count"))
    assert (document.text, document.meta) == ("Fever", {"surface_mismatches": 1})
    path.write_bytes(b"1|t|Fev\xe9r\n")
    (bad,) = read_records(path, "pubtator")
    assert "not valid UTF-8 at byte 7" in bad.reason


def test_a_tab_within_a_cell_makes_no_further_one(tmp_path: Path) -> None:
    span = Span(0, 5, "X", attributes={"identifier": "D\t1", "mentions": "a\nb"})
    document = Document("1", "Fever", (span,), meta={"relations": [["CID", "D\t1", "D2"]]})
    write([document], tmp_path / "n.pubtator", "pubtator")
    (back,) = read(tmp_path / "n.pubtator", "pubtator")
    assert back.spans[0].attributes == {"identifier": "D 1", "mentions": "a b"}
    assert [list(cells) for cells in back.meta["relations"]] == [["CID", "D 1", "D2"]]


def test_losses_are_counted(tmp_path: Path) -> None:
    attributes = {"identifier": "D1", "mentions": 2, "negated": True}
    spans = (Span(0, 3, "a b", 0.5, attributes), Span(0, 5, "X", fragments=((0, 1), (4, 5))))
    document = Document("a|1", "abc\nd\ne", spans, ("L",), "g", {"date": "2026-01-31", "relations": []})
    counts = write([document], tmp_path / "n.pubtator", "pubtator")
    assert counts == {
        "documents": 1,
        "spans": 1,
        "spans_not_representable": 1,
        "labels_not_representable": 1,
        "groups_not_representable": 1,
        "scores_not_representable": 1,
        "attributes_not_representable": 2,
        "meta_not_representable": 1,
        "line_ends_replaced": 1,
    }
    (back,) = read(tmp_path / "n.pubtator", "pubtator")
    assert back == Document("a|1", "abc\nd e", (Span(0, 3, "a b", attributes={"identifier": "D1", "mentions": "2"}),))
