"""What a split holds: notes, patients, lengths, labels, and how its spans lie."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clinnlp.core.document import Document

Place = tuple[int, int, tuple[tuple[int, int], ...]]  # start, end, fragments

QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


def profile(documents: Sequence[Document]) -> dict[str, Any]:
    """Counts of notes, groups, labels and spans, and the distribution of lengths in characters."""
    groups = {document.group for document in documents if document.group is not None}
    spans = Counter(span.label for document in documents for span in document.spans)
    return {
        "notes": len(documents),
        "groups": len(groups) if groups else None,
        "notes without group": sum(document.group is None for document in documents),
        "repeated ids": len(documents) - len({document.id for document in documents}),
        "empty": sum(not document.text or document.text.isspace() for document in documents),
        "characters": distribution([len(document.text) for document in documents]),
        "spans": spans.total(),
        "notes without spans": sum(not document.spans for document in documents),
        "span labels": dict(sorted(spans.items())),
        "notes without labels": sum(not document.labels for document in documents),
        "labels": dict(sorted(Counter(label for document in documents for label in document.labels).items())),
        "structure": structure(documents),
    }


def distribution(values: Sequence[int]) -> dict[str, float | None]:
    """Sum, mean and quantiles of values; quantiles are values that occur. None over nothing."""
    if not len(values):
        return {"sum": 0, "mean": None, **dict.fromkeys(QUANTILES)}
    array = np.asarray(values, np.int64)
    cuts = np.quantile(array, list(QUANTILES.values()), method="inverted_cdf").tolist()
    return {"sum": int(array.sum()), "mean": float(array.mean()), **dict(zip(QUANTILES, cuts, strict=True))}


def structure(documents: Iterable[Document]) -> dict[str, int]:
    """What a flat scheme cannot hold: discontinuous and repeated spans, places with several labels, pairs of places
    of which one holds the other (nested) or that only overlap (crossing), by their outer bounds.

    A place is the bounds and fragments of spans, whatever their labels.
    """
    found: Counter[str] = Counter(
        dict.fromkeys(("discontinuous", "repeated", "several labels", "nested pairs", "crossing pairs"), 0)
    )
    for document in documents:
        if document.spans:
            distinct = {span.key for span in document.spans}
            places = Counter((start, end, fragments) for start, end, _, fragments in distinct)
            found["discontinuous"] += sum(bool(span.fragments) for span in document.spans)
            found["repeated"] += len(document.spans) - len(distinct)
            found["several labels"] += sum(count > 1 for count in places.values())
            found.update(_meetings(places))
    return dict(found)


def _meetings(places: Iterable[Place]) -> Counter[str]:
    """Nested and crossing pairs; pairs with the same outer bounds are neither. Costs as much as places overlap."""
    found: Counter[str] = Counter()
    active: list[tuple[int, int]] = []
    for start, end in sorted(((start, end) for start, end, _ in places), key=lambda bounds: (bounds[0], -bounds[1])):
        active = [other for other in active if other[1] > start]
        for other in active:
            if other != (start, end):
                found["nested pairs" if end <= other[1] else "crossing pairs"] += 1
        active.append((start, end))
    return found


def conflicts(documents: Sequence[Document], places: Sequence[int], what: str) -> dict[str, int]:
    """Of texts that several notes have: how many carry different `labels` or `spans`, and the notes of those.

    `places` says which text each document has, -1 for an empty one.
    """
    first: dict[int, Any] = {}
    torn: set[int] = set()
    for document, place in zip(documents, places, strict=True):
        own = frozenset(document.labels) if what == "labels" else frozenset(span.key for span in document.spans)
        if place >= 0 and first.setdefault(place, own) != own:
            torn.add(place)
    return {"texts": len(torn), "of": len(first), "notes": sum(place in torn for place in places)}
