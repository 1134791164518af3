"""Tables on disk: whole shards only, read in order."""

from pathlib import Path

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.labeling.output import EMPTY, LABELED, ShardWriter, read_labels


def test_shards_read_back_in_order(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    for number in range(12):
        note = Document(f"d{number}", "fever", (Span(0, 5, "PROBLEM", 0.5),))
        writer.write([note], [LABELED], [Quarantined("x line 3", "torn", None)] if number == 3 else [])
    spans, documents = read_labels(tmp_path)
    wanted = [f"d{number}" for number in range(12)]
    assert spans.document_id.tolist() == wanted
    assert documents[documents.status == "labeled"].document_id.tolist() == wanted
    assert spans.iloc[0].to_dict() == {"document_id": "d0", "start": 0, "end": 5, "label": "PROBLEM", "score": 0.5}
    aside = documents[documents.status == "quarantined"]
    assert (len(aside), aside.characters_read.tolist(), aside.document_id.isna().all()) == (1, [0], True)


def test_a_file_that_was_not_finished_is_not_read(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    writer.write([Document("a", "")], [EMPTY])
    (tmp_path / "documents" / "part-000001.tmp").write_bytes(b"PAR1 half")
    spans, documents = read_labels(tmp_path)
    assert (len(spans), documents.document_id.tolist(), documents.status.tolist()) == (0, ["a"], ["empty"])


def test_note_labels_without_scores(tmp_path: Path) -> None:
    ShardWriter(tmp_path).write([Document("a", "x", labels=("l",), meta={"label_scores": {"l": 0.75}})], [LABELED])
    (row,) = read_labels(tmp_path).documents.to_dict("records")
    assert (list(row["labels"]), list(row["label_scores"])) == (["l"], [0.75])
