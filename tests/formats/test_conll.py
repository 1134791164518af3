"""CoNLL: entities as conlleval reads them, sentences as the corpora count them."""

from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError
from clinnlp.formats._tags import entities, illegal, parse_tag
from clinnlp.formats.base import read, read_records, write
from clinnlp.formats.conll import Conll

COUNTS = {  # file: sentences, entities, illegal I-
    "mtl_bio/NCBI-disease-IOB/train.tsv": (5424, 5134, 0),
    "mtl_bio/NCBI-disease-IOB/devel.tsv": (923, 787, 0),
    "mtl_bio/NCBI-disease-IOB/test.tsv": (940, 960, 0),
    "mtl_bio/NCBI-disease-IOBES/train.tsv": (5424, 5134, 0),
    "mtl_bio/BC5CDR-chem-IOB/train.tsv": (4560, 5203, 0),
    "mtl_bio/BC5CDR-chem-IOB/devel.tsv": (4581, 5347, 0),
    "mtl_bio/BC5CDR-chem-IOB/test.tsv": (4797, 5385, 0),
    "mtl_bio/BC5CDR-disease-IOB/train.tsv": (4560, 4182, 0),
    "mtl_bio/BC5CDR-disease-IOB/devel.tsv": (4581, 4246, 0),
    "mtl_bio/BC5CDR-disease-IOB/test.tsv": (4797, 4424, 0),
    "mtl_bio/linnaeus-IOB/devel.tsv": (4078, 711, 0),
    "epi4gard/EpiCustomV3/train.tsv": (4580, 1732, 8),
    "epi4gard/EpiCustomV3/val.tsv": (1227, 491, 4),
    "epi4gard/EpiCustomV3/test.tsv": (534, 201, 0),
    "general_wnut17/wnut17train.conll": (3394, 1975, 0),
    "general_wnut17/emerging.dev.conll": (1009, 836, 0),
    "general_wnut17/emerging.test.annotated": (1287, 1079, 0),
}


@pytest.mark.parametrize("file", COUNTS)
def test_real_files_against_their_counts_and_seqeval(file: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / file
    if not path.exists():
        pytest.skip(f"the corpus {file.partition('/')[0]} is not in the shared folder")
    documents = list(read(path, "conll"))
    sentences, spans, wrong = COUNTS[file]
    assert len(documents) == sentences
    assert sum(len(d.spans) for d in documents) == spans
    assert sum(d.meta.get("illegal_tags", 0) for d in documents) == wrong
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    tags = [
        [line.rpartition("\t")[2] for line in block] for block in sentence_lines(path.read_bytes().decode().split("\n"))
    ]
    theirs = [[(label, first, last) for label, first, last in get_entities(s)] for s in tags]
    ours = [[(label, a, b - 1) for a, b, label in entities([parse_tag(t) for t in s])] for s in tags]
    assert ours == theirs
    if path.stat().st_size > 500_000:  # one large file more would only take time
        return
    out = tmp_path / "back.conll"
    counts = write(documents, out, "conll")
    assert counts["spans_not_representable"] == 0
    assert [(d.id, d.text, d.spans) for d in read(out, "conll")] == [(d.id, d.text, d.spans) for d in documents]


def sentence_lines(lines: list[str]) -> list[list[str]]:
    made: list[list[str]] = [[]]
    for line in lines:
        if line.strip(" \t"):
            made[-1].append(line)
        elif made[-1]:
            made.append([])
    return made if made[-1] else made[:-1]


def test_epi4gard_has_twelve_illegal_tags() -> None:
    assert sum(wrong for _, _, wrong in COUNTS.values()) == 12


@pytest.mark.parametrize(
    ("tags", "scheme", "found", "wrong"),
    [
        ("B-X I-X O", "IOB2", [(0, 2, "X")], 0),
        ("O I-X I-X", "IOB2", [(1, 3, "X")], 1),
        ("B-X I-Y", "IOB2", [(0, 1, "X"), (1, 2, "Y")], 1),
        ("I-X I-X B-X O I-Y", "IOB1", [(0, 2, "X"), (2, 3, "X"), (4, 5, "Y")], 0),
        ("B-X O", "IOB1", [(0, 1, "X")], 1),
        ("B-X I-X E-X S-X", "IOBES", [(0, 3, "X"), (3, 4, "X")], 0),
        ("B-X L-X U-Y", "IOBES", [(0, 2, "X"), (2, 3, "Y")], 0),
        ("B-X O", "IOBES", [(0, 1, "X")], 1),
        ("E-X I-X", "IOBES", [(0, 1, "X"), (1, 2, "X")], 3),
        ("B-a-b I-a-b", "IOB2", [(0, 2, "a-b")], 0),
    ],
)
def test_entities_and_illegal_tags_by_hand(tags: str, scheme: str, found: list[object], wrong: int) -> None:
    parsed = [parse_tag(tag) for tag in tags.split()]
    assert entities(parsed) == found
    assert illegal(parsed, scheme) == wrong


def read_text(tmp_path: Path, data: str, reader: Conll | None = None) -> list[Document | Quarantined]:
    path = tmp_path / "n.conll"
    path.write_bytes(data.encode())
    return list(read_records(path, reader or Conll()))


def test_documents_and_schemes_are_found(tmp_path: Path) -> None:
    data = "-DOCSTART- -X- O O\n\nMr NNP I-NP O\nX NNP I-NP I-PER\n\nY Z O B-PER\n\n-DOCSTART- -X- O O\nW Z O I-PER\r\n"
    first, second = read_text(tmp_path, data)
    assert (first.id, first.text, first.spans) == ("1", "Mr X\nY", (Span(3, 4, "PER"), Span(5, 6, "PER")))
    assert (second.id, second.text, second.spans) == ("2", "W", (Span(0, 1, "PER"),))
    assert first.meta == {"conll": "document", "illegal_tags": 1}


def test_bad_lines_set_their_sentence_aside(tmp_path: Path) -> None:
    records = read_text(tmp_path, "a\tO\n\nb\n\nc\tPROBLEM\nd\tO\n\ne\tLABEL_1\n\nf\tO\n")
    assert [r.id for r in records if isinstance(r, Document)] == ["1", "5"]
    told = [(r.where, r.reason) for r in records if isinstance(r, Quarantined)]
    prefix = "a tag is neither O nor a label with a prefix such as B- or I-; its sentence is set aside"
    assert told == [
        ("n.conll line 3", "1 columns are too few: a token and a tag are needed; its sentence is set aside"),
        ("n.conll line 5", prefix),
        ("n.conll line 8", prefix),
    ]


def test_odd_tokens_are_kept(tmp_path: Path) -> None:
    data = "a\u00a0b\tO\n\u2028\tB-X\n\tO\nc\tO\n \t \nd e\tB-X\n"
    first, second = read_text(tmp_path, data)
    assert first.text == "a\u00a0b \u2028  c"
    assert first.spans == (Span(4, 5, "X"),)
    assert (second.text, second.meta) == ("d e", {})


@pytest.mark.parametrize("text", ["", " ", " \n\t\r\n"])
def test_a_note_without_a_word_is_a_document_without_tokens(text: str, tmp_path: Path) -> None:
    write([Document("blank", text), Document("note", "no fever")], tmp_path / "n.conll", "conll")
    found = list(read(tmp_path / "n.conll", "conll"))
    assert [(document.id, document.text) for document in found] == [("blank", ""), ("note", "no fever")]


def test_what_has_no_column_is_counted(tmp_path: Path) -> None:
    span = Span(0, 5, "PROBLEM", 0.5, {"negated": True, "certainty": "low"})
    made = Document("1", "fever", (span,), group="p", meta={"date": "2026-01-31"})
    counts = write([made], tmp_path / "n.conll", "conll")
    lost = {
        f"{kind}_not_representable": n for kind, n in (("groups", 1), ("scores", 1), ("attributes", 2), ("meta", 1))
    }
    assert counts.items() >= lost.items()
    assert counts["texts_changed"] == 0
    (back,) = read(tmp_path / "n.conll", "conll")
    again = write([back], tmp_path / "again.conll", "conll")
    assert sum(again.values()) == again["documents"] + again["spans"] == 2


def test_notes_that_never_were_conll(tmp_path: Path) -> None:
    text = "No 5mg aspirin.\nLeft arm,\nright leg pain"
    spans = (
        Span(4, 6, "UNIT"),
        Span(7, 14, "DRUG"),
        Span(2, 14, "DOSE"),
        Span(16, 35, "SITE"),
        Span(16, 40, "X", fragments=((16, 20), (36, 40))),
    )
    path = tmp_path / "n.conll"
    counts = write([Document("p 1", text, spans, ("A",)), Document("", "")], path, "conll")
    kinds = ("spans", "labels", "groups", "scores", "attributes", "meta")
    lost = dict(zip((f"{kind}_not_representable" for kind in kinds), (3, 1, 0, 0, 0, 0), strict=True))
    assert counts == {"documents": 2, "spans": 2, **lost, "texts_changed": 1, "spans_trimmed": 1}
    first, second = read(path, "conll")
    assert (first.id, first.text) == ("p 1", "No 5mg aspirin .\nLeft arm , right leg pain")
    assert [(first.text[s.start : s.end], s.label) for s in first.spans] == [
        ("5mg aspirin", "DOSE"),
        ("Left arm , right leg", "SITE"),
    ]
    assert (second.id, second.text) == ("", "")


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES"])
def test_schemes_are_written(scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "n.conll"
    document = Document("1", "a b c d", (Span(0, 3, "X"), Span(4, 5, "X"), Span(6, 7, "Y")))
    write([document], path, Conll(scheme=scheme))
    (back,) = read(path, Conll(scheme=scheme))
    assert (back.spans, back.meta) == (document.spans, {"conll": "document"})
    with pytest.raises(ConfigError, match=r"conll\.scheme: 'BIO' is not one of auto, IOB1"):
        list(read(path, Conll(scheme="BIO")))
