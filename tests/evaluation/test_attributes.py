"""Attributes of spans as labels, by hand."""

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.attributes import as_labels, attribute_names
from clinnlp.evaluation.score import evaluate

TEXT = "fever cough pain"


def note(*spans: Span) -> Document:
    return Document("1", TEXT, spans)


GOLD = note(
    Span(0, 5, "P", attributes={"negated": True, "window": 3}),
    Span(6, 11, "P", attributes={"negated": True, "polarity": "NEG"}),
    Span(12, 16, "P", attributes={"negated": False, "certainty": ""}),
)
SAID = note(
    Span(0, 5, "P", attributes={"negated": True, "negated_score": 0.9}),
    Span(6, 11, "P", attributes={"polarity": "POS", "polarity_score": 0.6}),
    Span(12, 16, "P", attributes={"negated": True, "negated_score": 0.7}),
)


def test_each_class_is_a_label_and_absence_is_none() -> None:
    assert attribute_names([GOLD, SAID]) == ("certainty", "negated", "polarity")
    (gold,), (said,) = as_labels([GOLD]), as_labels([SAID], ["negated"])
    assert [(s.start, s.label) for s in gold.spans] == [(0, "negated=true"), (6, "negated=true"), (6, "polarity=NEG")]
    assert [(s.start, s.label, s.score) for s in said.spans] == [(0, "negated=true", 0.9), (12, "negated=true", 0.7)]


def test_scores_by_hand() -> None:
    """negated=true: one of two found, one spurious. polarity: NEG is missed, POS is spurious."""
    report = evaluate([GOLD], [SAID], task="span_attributes")
    assert report.entity is not None
    scores = {label: (s.tp, s.fp, s.fn) for label, s in report.entity.strict.per_label.items()}
    assert scores == {"negated=true": (1, 1, 1), "polarity=NEG": (0, 0, 1), "polarity=POS": (0, 1, 0)}
    assert report.entity.strict.micro.f1 == pytest.approx(2 * 1 / (2 + 2 + 2))


def test_attributes_that_gold_does_not_have_are_not_scored() -> None:
    more = note(Span(0, 5, "P", attributes={"negated": True, "experiencer": "family"}))
    report = evaluate([GOLD], [more], task="span_attributes")
    assert report.entity is not None and report.entity.strict.micro.fp == 0
