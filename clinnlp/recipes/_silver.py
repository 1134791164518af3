"""Silver notes: what a calibrated teacher says of unlabeled notes, kept where it is sure and masked where it is not."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clinnlp.core.document import Document, Span
from clinnlp.encode.tags import UNTOLD
from clinnlp.encode.tokens import unit_ranges
from clinnlp.evaluation.reliability import wilson
from clinnlp.recipes._reading import Said
from clinnlp.tasks.base import Task
from clinnlp.tasks.ner import Ner

SILVER = "silver"  # in the meta of a note that was read: whether it is kept, and the highest score it holds


@dataclass(frozen=True)
class Sure:
    """From which calibrated probability a span or label is kept, and under which one it is taken to be absent."""

    high: float
    low: float

    def keeper(self, task: Task, labels: Sequence[str]) -> Callable[[Said], Document]:
        """What makes a silver note of what the teacher says of a note."""
        return lambda said: self.of_units(said, task, labels) if said.tokens is not None else self.of_note(said, task)

    def of_units(self, said: Said, task: Task, labels: Sequence[str]) -> Document:
        """The spans that are sure; `untold` are the others, and words outside that may be part of an entity.

        A word outside is doubtful if its calibrated probability of being in an entity is over `low`. A note without
        a sure span is not kept: it would only teach that there is nothing.
        """
        assert isinstance(task, Ner) and said.tokens is not None
        document = said.document
        spans = [span for span in document.spans if (span.score or 0.0) >= self.high]
        doubted = [(span.start, span.end) for span in document.spans if (span.score or 0.0) < self.high]
        if len(said.tags):
            tags, logits = np.asarray(said.tags), np.asarray(said.logits)
            nearest = (logits[:, 1:].argmax(axis=1)) // 2
            inside = np.clip(1.0 - np.asarray(said.chances, np.float64), 0.0, 1.0)
            inside = task.calibration.apply(inside, [labels[number] for number in nearest])
            ranges = unit_ranges(document.text, said.tokens, said.units)
            doubted += [(int(a), int(b)) for a, b in ranges[(tags == 0) & (inside > self.low)]]
        best = max((span.score or 0.0 for span in document.spans), default=0.0)
        told = {SILVER: {"kept": bool(spans), "best": best, "found": len(document.spans)}}
        kept = tuple(Span(span.start, span.end, span.label, span.score) for span in spans)
        return replace(document, spans=kept, meta={UNTOLD: _joined(doubted), **told})

    def of_note(self, said: Said, task: Task) -> Document:
        """The note with its class if that is sure; with several labels, if each of them is sure, there or not."""
        document = said.document
        scores = document.meta["label_scores"]
        if getattr(task, "multi_label", False):
            labels = tuple(label for label, score in scores.items() if score >= self.high)
            kept = bool(scores) and all(score >= self.high or score <= self.low for score in scores.values())
        else:
            labels = tuple(label for label in document.labels if scores.get(label, 0.0) >= self.high)
            kept = bool(labels)
        told = {"kept": kept, "best": max(scores.values(), default=0.0), "found": len(document.labels)}
        return replace(document, labels=labels if kept else (), meta={SILVER: told})


def _joined(stretches: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The stretches in order, those that touch as one."""
    found: list[list[int]] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found


def is_kept(note: Document) -> bool:
    """Whether a note that was read is taken as a silver note."""
    return bool(note.meta[SILVER]["kept"])


def counted(read: Sequence[Document]) -> dict[str, Any]:
    """How many notes were read and kept, what is kept by label, and how much is masked."""
    kept = [note for note in read if is_kept(note)]
    spans = Counter(span.label for note in kept for span in note.spans)
    labels = Counter(label for note in kept for label in note.labels)
    masked = [end - start for note in kept for start, end in note.meta.get(UNTOLD, ())]
    return {
        "read": len(read),
        "kept": len(kept),
        "found": sum(note.meta[SILVER]["found"] for note in read),
        "spans": dict(sorted(spans.items())),
        "labels": dict(sorted(labels.items())),
        "masked": {"stretches": len(masked), "characters": sum(masked), "of": sum(len(note.text) for note in kept)},
        "best": max((note.meta[SILVER]["best"] for note in read), default=0.0),
    }


def on_dev(gold: Sequence[Document], silver: Sequence[Document], by_spans: bool) -> dict[str, dict[str, Any]]:
    """What the same rule would have made of dev notes, by label and together (`all`).

    `kept` spans or labels, of which `right` are gold, with the precision and its Wilson interval; of the gold ones how
    many are `held`, `masked` (a doubted stretch touches them) or `denied`: taught to be nothing.
    """
    found: dict[str, Counter[str]] = {}
    for note, made in zip(gold, silver, strict=True):
        if not is_kept(made):
            continue
        told, true = (_said(one, by_spans) for one in (made, note))
        for key in told:
            _count(found, key[0], "kept", key in true)
        for key in true:
            fate = "held" if key in told else "masked" if _touches(made, key) else "denied"
            _count(found, key[0], fate, False)
    return {name: _precise(counts) for name, counts in sorted(found.items(), key=lambda one: (one[0] == ALL, one[0]))}


ALL = "all"


def _said(note: Document, by_spans: bool) -> set[tuple[Any, ...]]:
    return {(span.label, *span.key) for span in note.spans} if by_spans else {(label,) for label in note.labels}


def _touches(made: Document, key: tuple[Any, ...]) -> bool:
    return len(key) > 1 and any(start < key[2] and key[1] < end for start, end in made.meta.get(UNTOLD, ()))


def _count(found: dict[str, Counter[str]], label: str, what: str, right: bool) -> None:
    for name in (label, ALL):
        found.setdefault(name, Counter()).update({what: 1, "right": int(right)})


def _precise(counts: Mapping[str, int]) -> dict[str, Any]:
    held = {name: counts[name] for name in ("kept", "right", "held", "masked", "denied")}
    if not held["kept"]:
        return {**held, "precision": None, "interval": None}
    return {**held, "precision": held["right"] / held["kept"], "interval": list(wilson(held["right"], held["kept"]))}
