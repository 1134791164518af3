"""One call for all scores of predicted documents: `clinnlp.evaluate`."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from clinnlp.core.document import Document
from clinnlp.core.report import Report
from clinnlp.errors import UsageError
from clinnlp.evaluation.attributes import as_labels, attribute_names
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.notes import evaluate_notes
from clinnlp.evaluation.pairing import count_data
from clinnlp.evaluation.resample import Method

Task = Literal["ner", "note_classification", "span_attributes"]


def evaluate(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    labels: Sequence[str] | None = None,
    seed: int = 13,
    task: Task | None = None,
    method: Method = "percentile",
) -> Report:
    """Score predicted documents against gold ones, joined by id.

    Without a task: note labels if gold has any, spans if either side has any or gold has no note labels.
    With `span_attributes` each class of each attribute of gold spans is scored as an entity of its own, NAME=CLASS.
    `labels` declares labels that the data may lack, `method` is that of the bootstrap intervals. Raises DataError if
    the two sides hold different documents.
    """
    golds, predictions = list(gold), list(predicted)
    if task not in (None, *get_args(Task)):
        raise UsageError(f"cannot score task {task!r}: it is neither 'ner' nor 'note_classification'")
    if task == "span_attributes":
        names = attribute_names(golds)
        golds, predictions, task = as_labels(golds, names), as_labels(predictions, names), "ner"
    notes = task == "note_classification" or (task is None and any(document.labels for document in golds))
    spans = task == "ner" or (task is None and (not notes or any(d.spans for d in (*golds, *predictions))))
    if notes and spans and labels is not None:
        raise UsageError("the data has spans and note labels, and labels were given", next="say which task they are of")
    return Report(
        entity=evaluate_spans(golds, predictions, labels, seed, method=method) if spans else None,
        notes=evaluate_notes(golds, predictions, labels, seed=seed, method=method) if notes else None,
        data=count_data(golds),
    )
