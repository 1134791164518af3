"""Batch labeling: order, reuse of texts that were read before, and the account of every record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.labeling import engine
from clinnlp.labeling.output import read_labels


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the model is made to read: it calls the first character of each PROBLEM, and fails on "bad"."""
    texts: list[str] = []

    def model(trained: Any, documents: list[Document], batch_tokens: int) -> list[Document]:
        texts.extend(document.text for document in documents)
        if any("bad" in document.text for document in documents):
            raise RuntimeError
        return [replace(document, spans=(Span(0, 1, "PROBLEM", 0.5),)) for document in documents]

    monkeypatch.setattr(engine, "predict_chunk", model)
    return texts


def run(records: list[Document | Quarantined], folder: Path, shard: int = 2) -> engine.Counts:
    trained: Any = None
    return engine.label_records(trained, records, folder, 4096, shard, 1000)


def test_a_text_is_read_once_over_shards_and_every_note_is_labeled(reads: list[str], tmp_path: Path) -> None:
    notes = [Document("a", "fever"), Document("b", "cough"), Document("c", "fever"), Document("d", "rash")]
    counts = run(notes, tmp_path)
    assert reads == ["fever", "cough", "rash"]
    labels = read_labels(tmp_path)
    assert list(labels.documents.document_id) == ["a", "b", "c", "d"]
    assert list(labels.spans.document_id) == ["a", "b", "c", "d"]
    assert (counts.input, counts.labeled, counts.spans) == (4, 4, 4)


def test_only_the_note_that_the_model_fails_on_is_set_aside(reads: list[str], tmp_path: Path) -> None:
    notes = [Document("a", "fever"), Document("b", "bad"), Document("c", "rash"), Document("d", "fever")]
    counts = run(notes, tmp_path, shard=3)
    assert (counts.labeled, counts.quarantined) == (3, 1)
    assert list(read_labels(tmp_path).spans.document_id) == ["a", "c", "d"]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert reasons == ["the model failed (RuntimeError)"]


def test_records_that_cannot_be_labeled_are_named_by_their_place(reads: list[str], tmp_path: Path) -> None:
    records = [
        Document("a", "x"),
        Quarantined("n.jsonl line 2", "not JSON"),
        Document("a", "y"),
        Document("b", "z" * 2000),
    ]
    counts = run(records, tmp_path)
    assert (counts.input, counts.labeled, counts.quarantined) == (4, 1, 3)
    places = [json.loads(line)["where"] for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert places == ["n.jsonl line 2", "note 3 of the input", "note 4 of the input"]


def test_what_is_known_is_bounded() -> None:
    known = engine.Known(most=2)
    known.learn([Document(str(i), f"text {i}", labels=("x",)) for i in range(5)])
    known.forget()
    assert [f"text {i}" in known for i in range(5)] == [False, False, False, True, True]
    assert known.answer(Document("9", "text 4")).labels == ("x",)
