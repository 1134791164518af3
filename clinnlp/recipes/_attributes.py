"""Runs that scored attributes of spans: what of their documents `compare` has to count."""

from collections.abc import Sequence
from typing import Any

from clinnlp.core.document import Document
from clinnlp.evaluation.attributes import as_labels

NAME = "span_attributes"


def attributes_of(run: Any) -> tuple[str, ...]:
    """The attributes that a stored run scored, by the labels NAME=CLASS of its scores; nothing for another task."""
    task = (run.trained.get("settings") or {}).get("task")
    names = (getattr(run.settings, "task", None), task["name"] if isinstance(task, dict) else task)
    if NAME not in names or "entity" not in run.parts:
        return ()
    return tuple(sorted({label.partition("=")[0] for label in run.labels("entity")}))


def as_scored(run: Any, documents: Sequence[Document]) -> list[Document]:
    """The documents with the spans that the run scored."""
    names = attributes_of(run)
    return as_labels(documents, names) if names else list(documents)
