import json

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError, UsageError
from clinnlp.evaluation.score import evaluate

SPANS = [Document("1", "some text", spans=(Span(0, 4, "A"),)), Document("2", "more text")]
LABELS = [Document("1", "some text", labels=("A",)), Document("2", "more text", labels=("B",))]
BARE = [Document("1", "some text"), Document("2", "more text")]


def test_what_the_data_holds_is_scored() -> None:
    assert evaluate(SPANS, BARE).notes is None
    report = evaluate(LABELS, BARE)
    assert report.entity is None and report.notes is not None and report.notes.accuracy == 0.0
    report = evaluate(LABELS, SPANS)
    assert report.entity is not None and report.notes is not None and report.entity.strict.micro.fp == 1
    assert evaluate(BARE, BARE).entity is not None


def test_the_task_decides_if_given() -> None:
    assert evaluate(LABELS, SPANS, task="ner").notes is None
    assert evaluate(LABELS, SPANS, task="note_classification").entity is None


def test_generators_and_data_counts() -> None:
    report = evaluate((d for d in SPANS), (d for d in SPANS), labels=["A", "B"])
    assert report.data.documents == 2 and report.data.characters == 18
    assert report.entity is not None and report.entity.strict.absent == ("B",)


def test_nothing_scored_is_null_in_valid_json() -> None:
    content = json.loads(json.dumps(evaluate(BARE, BARE).as_dict(), allow_nan=False))
    assert content["entity"]["strict"]["micro"]["f1"] is None
    assert content["entity"]["strict"]["micro"]["f1_interval"] is None
    assert content["entity"]["counts"]["gold"] == content["entity"]["counts"]["scored"] == 0


def test_the_same_seed_gives_the_same_report() -> None:
    assert evaluate(SPANS, BARE, seed=3) == evaluate(SPANS, BARE, seed=3)


def test_unknown_tasks_and_labels_of_two_tasks_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(SPANS, BARE, task="parsing")  # type: ignore[arg-type]
    assert str(caught.value) == "cannot score task 'parsing': it is neither 'ner' nor 'note_classification'."
    with pytest.raises(UsageError) as caught:
        evaluate(LABELS, SPANS, labels=["A"])
    assert str(caught.value) == (
        "the data has spans and note labels, and labels were given. Next: say which task they are of."
    )


def test_other_documents_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 gold without a prediction"):
        evaluate(SPANS, BARE[:1])
