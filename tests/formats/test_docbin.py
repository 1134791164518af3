"""spaCy DocBin: what spaCy sees, what comes back, and files that are hostile or made elsewhere."""

import logging
import pickle
import zlib
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin
from spacy.tokens import Span as Piece
from spacy.vocab import Vocab

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import DataError, UnsafeError
from clinnlp.formats.base import read, read_records, write
from clinnlp.formats.docbin import Docbin, tokenize

TEXT = " Fever\r\n 5mg  caf\u00e9 e\u0301 \U0001f600 end"
SPANS = (
    Span(1, 6, "PROBLEM", 0.91, {"negation": "negated", "codes": ["R50", 1]}),
    Span(9, 10, "STRENGTH"),  # half of what any tokenizer takes for one word
    Span(9, 12, "DRUG"),
    Span(12, 14, "BLANKS"),
    Span(1, 12, "SITE", None, {}, ((1, 6), (10, 12))),
)


def docs(path: Path) -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(Vocab()))


def test_spacy_sees_text_spans_entities_and_categories(tmp_path: Path) -> None:
    given = Document("0012", TEXT, SPANS, ("acute", "=HYPERLINK(1)"), "p\u00e9", {"k": [1, None]})
    counts = write([given], tmp_path / "a.spacy", "docbin")
    assert counts == {"documents": 1, "spans": 5, "spans_not_in_ents": 2, "texts_not_representable": 0}
    (doc,) = docs(tmp_path / "a.spacy")
    assert doc.text == TEXT
    found = [(piece.start_char, piece.end_char, piece.label_) for piece in doc.spans["clinnlp"]]
    assert found == [(span.start, span.end, span.label) for span in SPANS]
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Fever", "PROBLEM"), ("5mg", "DRUG"), ("  ", "BLANKS")]
    assert doc.cats == {"acute": 1.0, "=HYPERLINK(1)": 1.0}
    assert list(read(tmp_path / "a.spacy", "docbin")) == [given]


def test_blanks_before_words_are_no_tokens() -> None:
    assert tokenize(Document("1", "a b  c")) == [(0, "a", True), (2, "b", True), (4, " ", False), (5, "c", False)]
    assert tokenize(Document("1", "a b", (Span(0, 2, "X"),))) == [(0, "a", False), (1, " ", False), (2, "b", False)]
    assert tokenize(Document("1", "a b", (Span(1, 3, "X"),))) == [(0, "a", False), (1, " ", False), (2, "b", False)]
    assert tokenize(Document("1", "")) == []


def test_many_notes_become_a_folder_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinnlp.formats.docbin.PART_DOCUMENTS", 2)
    monkeypatch.setattr("clinnlp.formats.docbin.PART_CHARACTERS", 10)
    given = [Document(str(n), "x" * size, (Span(0, 1, "L"),)) for n, size in enumerate((1, 2, 11, 1, 1, 1))]
    counts = write(given, tmp_path / "out", "docbin")
    assert (counts["documents"], counts["spans"]) == (6, 6)
    assert [len(docs(path)) for path in sorted((tmp_path / "out").iterdir())] == [2, 1, 2, 1]
    assert list(read(tmp_path / "out", "docbin")) == given
    write([], tmp_path / "none", "docbin")
    assert list(read(tmp_path / "none", "docbin")) == []


def test_spacy_trains_on_it(tmp_path: Path) -> None:
    given = [Document(str(n), "fever since Monday", (Span(0, 5, "PROBLEM"),), ("acute",)) for n in range(4)]
    write(given, tmp_path / "a.spacy", "docbin")
    from spacy.training import Corpus

    nlp = spacy.blank("xx")
    nlp.add_pipe("ner")
    examples = list(Corpus(tmp_path / "a.spacy")(nlp))
    nlp.initialize(lambda: examples)
    losses = [nlp.update(examples)["ner"] for _ in range(15)]
    assert losses[-1] < losses[0] / 2
    assert [(ent.text, ent.label_) for ent in nlp("fever since Monday").ents] == [("fever", "PROBLEM")]


def test_what_spacy_made_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vocab = Vocab()
    one = Doc(vocab, words=["No", "fever", "."], spaces=[True, False, False])
    one.set_ents([Piece(one, 1, 2, "PROBLEM")])
    one.cats = {"acute": 0.9, "old": 0.1}
    two = Doc(vocab, words=["Home"], spaces=[False])
    two.spans["sc"] = [Piece(two, 0, 1, "PLACE"), Piece(two, 0, 1, "OTHER")]
    two.user_data["array"] = (1, 2)
    DocBin(docs=[one, two], store_user_data=True).to_disk(tmp_path / "a.spacy")
    found = list(read(tmp_path / "a.spacy", "docbin"))
    assert found == [
        Document("1", "No fever.", (Span(3, 8, "PROBLEM"),), ("acute",)),
        Document("2", "Home"),
    ]
    told = "a.spacy: 2 spans of group 'sc' are not read: spans_key names the one that is"
    assert [record.getMessage() for record in caplog.records] == [told]
    caplog.clear()
    (_, second) = read(tmp_path / "a.spacy", Docbin(spans_key="sc"))
    assert not caplog.records
    assert second.spans == (Span(0, 4, "PLACE"), Span(0, 4, "OTHER"))


def test_changes_made_in_spacy_count(tmp_path: Path) -> None:
    write([Document("a", TEXT, SPANS, ("acute",))], tmp_path / "a.spacy", "docbin")
    (doc,) = docs(tmp_path / "a.spacy")
    doc.spans["clinnlp"] = [piece for piece in doc.spans["clinnlp"] if piece.label_ != "DRUG"]
    doc.cats = {"healed": 1.0}
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "b.spacy")
    (found,) = read(tmp_path / "b.spacy", "docbin")
    assert found.spans == tuple(span for span in SPANS if span.label != "DRUG")
    assert found.labels == ("healed",)


def test_a_text_that_would_change_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = tokenize
    monkeypatch.setattr("clinnlp.formats.docbin.tokenize", lambda d: known(d)[1:] if d.id == "Qvortrup" else known(d))
    caplog.set_level(logging.WARNING, logger="clinnlp")
    counts = write([Document("a", "one two"), Document("Qvortrup", "three four")], tmp_path / "a.spacy", "docbin")
    assert (counts["documents"], counts["texts_not_representable"]) == (1, 1)
    assert "left out: document 2: spaCy cannot hold its text exactly" in caplog.text
    assert "Qvortrup" not in caplog.text and "three" not in caplog.text
    assert [d.id for d in read(tmp_path / "a.spacy", "docbin")] == ["a"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("[1]", "its user data 'clinnlp' is no JSON object"),
        ('{"spans": [1]}', "a span of its user data is no object"),
        ('{"labels": [[1]]}', "a label of its user data is no string"),
        ('{"labels": 1}', "the labels or spans of its user data are no list"),
        ('{"id": 1.5}', "field 'id' is float: store it as a string"),
        ('{"spans": [{"start": 0, "end": 5, "label": "X", "score": "high"}]}', "the score of span 1 is str"),
        ('{"spans": [{"start": 0, "end": 5, "label": "X", "fragments": [[0, 9]]}]}', "the fragments of span 1"),
        ('{"id"', "not valid JSON at character"),
    ],
)
def test_user_data_that_is_wrong_sets_its_note_aside(told: str, reason: str, tmp_path: Path) -> None:
    made = []
    for data in (told, '{"id": "good"}'):
        doc = Doc(Vocab(), words=["fever"], spaces=[False])
        doc.spans["clinnlp"] = [Piece(doc, 0, 1, "X")]
        doc.user_data["clinnlp"] = data
        made.append(doc)
    DocBin(docs=made, store_user_data=True).to_disk(tmp_path / "a.spacy")
    bad, good = read_records(tmp_path / "a.spacy", "docbin")
    assert isinstance(bad, Quarantined) and isinstance(good, Document)
    assert bad.where == "a.spacy doc 1"
    assert bad.reason.startswith(reason)
    assert (good.id, good.spans) == ("good", (Span(0, 5, "X"),))


def test_broken_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.spacy"
    write([Document("a", "Qvortrup fever")], path, "docbin")
    whole = path.read_bytes()
    for raw in (
        b"",
        b"not packed",
        whole[:-9],
        zlib.compress(b"\x93abc"),
        zlib.compress(srsly.msgpack_dumps({"a": 1})),
    ):
        path.write_bytes(raw)
        with pytest.raises(DataError, match="DocBin") as caught:
            list(read(path, "docbin"))
        assert "Qvortrup" not in str(caught.value)
    message = srsly.msgpack_loads(zlib.decompress(whole))
    message["strings"] = []  # the words are hashes of strings that are not there
    path.write_bytes(zlib.compress(srsly.msgpack_dumps(message)))
    with pytest.raises(DataError, match=r"unreadable after doc 0 \(KeyError\)"):
        list(read(path, "docbin"))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.spacy").write_bytes(zlib.compress(bytes(200 * 2**20), 9))
    with pytest.raises(UnsafeError, match="unpacks to far more than text does"):
        list(read(tmp_path / "a.spacy", "docbin"))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numpy extension of msgpack once held pickles (dtype O); spaCy's copy of it must not open one."""
    fired = tmp_path / "fired"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (fired,))

    doc = Doc(Vocab(), words=["fever"], spaces=[False])
    held = DocBin(docs=[doc], store_user_data=True)
    for kind in (b"O", b""):
        trap = {b"nd": True, b"type": "|O", b"kind": kind, b"shape": (1,), b"data": pickle.dumps(Trap())}
        held.user_data = [srsly.msgpack_dumps({"trap": trap})]
        held.to_disk(tmp_path / "a.spacy")
        monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
        with pytest.raises(DataError, match="not a whole spaCy DocBin"):
            list(read(tmp_path / "a.spacy", "docbin"))
        monkeypatch.undo()
    assert not fired.exists()
