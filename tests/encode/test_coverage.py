"""Tokens against a window, counted by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.encode import coverage as module
from clinnlp.encode.coverage import coverage
from clinnlp.encode.tokens import NoteTokenizer

TEXT = "patient denies fever cough nausea"  # five words of the tiny vocabulary, one token each


@pytest.fixture
def tokenizer(tiny: Callable[[str], Path]) -> NoteTokenizer:
    return NoteTokenizer.load(tiny("wordpiece"))


def test_coverage_by_hand(tokenizer: NoteTokenizer) -> None:
    whole = Document("1", TEXT, (Span(15, 20, "X"), Span(15, 26, "Y"), Span(27, 33, "X")))
    documents = [whole, Document("2", "fever \u2603", (Span(0, 5, "X"),)), Document("3", "")]
    assert [len(tokens) for tokens in tokenizer.encode_many([d.text for d in documents])] == [5, 2, 0]
    lengths, found = coverage(documents, tokenizer, window=6)  # room for four tokens beside [CLS] and [SEP]
    assert lengths == [5, 2, 0]
    assert {key: found[key] for key in ("window", "tokens", "units", "unknown")} == {
        "window": 6, "tokens": 7, "units": 7, "unknown": 1,
    }  # fmt: skip
    assert (found["notes beyond"], found["spans beyond"]) == (1, 1), "the fifth token and its span"
    assert (found["fertility"], found["unknown rate"]) == (1.0, 1 / 7)
    assert (found["spans"], found["unrepresentable"]) == (4, 1)
    assert found["alignment"]["X"]["unrepresentable"] == {"nested": 1}


def test_batches_make_no_difference(tokenizer: NoteTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [Document(str(n), f"{TEXT} {n} mg", (Span(8, 14, "X"),)) for n in range(7)]
    whole = coverage(documents, tokenizer, 8)
    monkeypatch.setattr(module, "BATCH", 2)
    assert coverage(documents, tokenizer, 8) == whole


def test_nothing(tokenizer: NoteTokenizer) -> None:
    lengths, found = coverage([Document("1", "")], tokenizer, 8)
    assert lengths == [0]
    assert (found["fertility"], found["unknown rate"], found["alignment"]) == (None, None, {})
