"""Attributes of spans as labels: each class of each attribute is scored as an entity of its own."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from clinnlp.core.document import Document, Span

OURS = frozenset(("window", "model", "brat_id"))  # attributes that say nothing of what a span names
SCORE = "_score"  # how the name of an attribute's probability ends
ABSENT = "none"  # the class of a span without the attribute


def attribute_names(documents: Iterable[Document]) -> tuple[str, ...]:
    """The attributes that spans have, sorted; without those of other use and without scores."""
    found = {name for d in documents for span in d.spans for name in span.attributes}
    return tuple(sorted(name for name in found if name not in OURS and not name.endswith(SCORE)))


def attribute_class(span: Span, name: str) -> str:
    """The class of an attribute of a span: `true` of one that is only there or not, `none` where it is not."""
    value: Any = span.attributes.get(name)
    if value is None or value is False or value == "":
        return ABSENT
    return "true" if value is True else str(value)


def as_labels(documents: Sequence[Document], names: Collection[str] = ()) -> list[Document]:
    """Documents whose spans are the attributes of spans: one of the label NAME=CLASS for each that a span has.

    Of the attributes called `names`, or of all. Spans without an attribute are left out: its absence is no class.
    """
    chosen = tuple(names) or attribute_names(documents)
    return [replace(document, spans=tuple(_labels(document, chosen))) for document in documents]


def _labels(document: Document, names: Sequence[str]) -> Iterable[Span]:
    for span in document.spans:
        for name in names:
            if (found := attribute_class(span, name)) != ABSENT:
                score = span.attributes.get(name + SCORE)
                yield replace(span, label=f"{name}={found}", score=score, attributes={})
