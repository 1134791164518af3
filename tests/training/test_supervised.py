"""Labeled examples, drawn as they are and balanced by class."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from clinnlp.core.document import Document, Span
from clinnlp.core.window import Window
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.tasks.base import Example, Row
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from clinnlp.training.loader import Draw
from clinnlp.training.supervised import ExampleSource, chances


def example(classes: set[int], length: int) -> Example:
    """A note of some length with classes out of four."""
    targets = np.array([[float(one in classes) for one in range(4)], [1.0] * 4], dtype=np.float32)
    return Example((Row(np.zeros(length, dtype=np.int32), Window(0, length, 0, length), 0),), targets)


NOTES = [example({0}, 5 + number % 7) for number in range(90)] + [example({1}, 5 + number) for number in range(10)]


def drawn(source: ExampleSource, epochs: int) -> list[list[Example]]:
    return [[source.example(Draw(e, index, 0.0)) for index in range(len(source.lengths))] for e in range(epochs)]


def counts(examples: list[Example]) -> Counter[int]:
    return Counter(int(one) for e in examples for one in np.flatnonzero(e.targets[0]))


def test_without_balance_each_comes_once() -> None:
    source = ExampleSource(NOTES, NoteClassification(), 0)
    assert drawn(source, 1) == [NOTES]
    assert source.lengths.tolist() == [len(note) for note in NOTES]


@pytest.mark.parametrize(("balance", "rare"), [(1.0, 50), (0.5, 25), (0.01, 10)])
def test_balanced_classes_by_hand(balance: float, rare: int) -> None:
    """90 notes of one class and 10 of another: half and half, 3 to 1 by the root, or as they are."""
    source = ExampleSource(NOTES, NoteClassification(), 0, seed=3, balance=balance)
    for epoch in drawn(source, 3):
        assert len(epoch) == 100
        assert abs(counts(epoch)[1] - rare) <= 3


def test_every_note_comes_in_the_course_of_time() -> None:
    source = ExampleSource(NOTES, NoteClassification(), 0, seed=3, balance=1.0)
    assert {id(note) for epoch in drawn(source, 20) for note in epoch} == {id(note) for note in NOTES}


def test_what_is_drawn_depends_on_seed_and_epoch_alone() -> None:
    def ids(seed: int) -> list[list[int]]:
        source = ExampleSource(NOTES, NoteClassification(), 0, seed, 0.7)
        return [[id(note) for note in epoch] for epoch in drawn(source, 2)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    assert ids(1)[0] != ids(1)[1]


def test_lengths_are_about_those_of_what_is_drawn() -> None:
    source = ExampleSource(NOTES, NoteClassification(), 0, seed=3, balance=1.0)
    (epoch,) = drawn(source, 1)
    assert np.abs(source.lengths - [len(note) for note in epoch]).max() <= 1


def test_chances_by_hand() -> None:
    """Classes 0 (two examples), 1 (one), none (one): an example counts by its rarest class."""
    found = chances([frozenset({0}), frozenset({0, 1}), frozenset()], 1.0)
    assert found.tolist() == pytest.approx([0.5 / 2.5, 1 / 2.5, 1 / 2.5])


def test_classes_of_windows_and_notes(tiny: Any) -> None:
    text = "patient presents with fever cough started on aspirin"
    spans = (Span(22, 27, "PROBLEM"), Span(28, 33, "PROBLEM"), Span(45, 52, "DRUG"))
    documents = [Document("a", text, spans), Document("b", text, spans[:2]), Document("c", text, ())]
    task = Ner()
    examples, _ = task.examples(documents, NoteTokenizer.load(tiny("bert")), task.schema(documents))
    assert [task.classes(one) for one in examples] == [{0, 1}, {1}, set()]
    assert NoteClassification().classes(example({1, 3}, 4)) == {1, 3}
