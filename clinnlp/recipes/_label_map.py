"""Other names for labels and for the classes of attributes: what they are given to, and whether any note holds them."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.errors import ConfigError, DataError
from clinnlp.evaluation.attributes import ABSENT, OURS, SCORE, attribute_class

LISTED = 20  # labels that an error names at most


def labels_in(document: Document) -> set[str]:
    """All that a document holds which another name can be given to: labels, and NAME=CLASS of attributes."""
    classes = {label for span in document.spans for label in _classes(span).values()}
    return {*document.labels, *(span.label for span in document.spans), *classes}


def with_names(document: Document, names: Mapping[str, str]) -> Document:
    """A document with the other names of its labels, and those of NAME=CLASS for the attributes of its spans.

    Raises ConfigError for an attribute whose other name is not NAME=CLASS, DataError for one that gets two classes.
    """
    if not names:
        return document
    spans = tuple(
        replace(span, label=names.get(span.label, span.label), attributes=_attributes(span, names))
        for span in document.spans
    )
    labels = tuple(dict.fromkeys(names.get(label, label) for label in document.labels))
    return replace(document, spans=spans, labels=labels)


def unheld(names: Mapping[str, str], held: Collection[str]) -> ConfigError | None:
    """The error of the first name that no note holds, with the nearest label that some note does; or None."""
    lacking = [name for name in names if name not in held]
    if not lacking:
        return None
    name = lacking[0]
    alike = sorted(label for label in held if ("=" in label) == ("=" in name))
    near = nearest(name, alike)
    listed = ", ".join(alike[:LISTED]) + (", ..." if len(alike) > LISTED else "")
    next = f"did you mean {near[0]!r}? If not, leave it out" if near else f"leave it out; there are {listed or 'none'}"
    return ConfigError("no note that is read holds this label", where=f"data.label_map.{name}", next=next)


def nearest(name: str, labels: Sequence[str]) -> list[str]:
    """The label that is most like a name, if one is."""
    return difflib.get_close_matches(name, labels, n=1, cutoff=0.5)


def flag_of(label: str, other: str) -> str:
    """The flag that gives a label another name; in braces where either holds more than letters, digits, _ and -."""
    if re.fullmatch(r"[\w-]+", label) and re.fullmatch(r"[\w-]+", other):
        return f"--data.label_map.{label} {other}"
    return f"--data.label_map '{{{label}: {other}}}'"


def _classes(span: Span) -> dict[str, str]:
    """NAME=CLASS of each attribute that a span carries, by its name."""
    names = [name for name in span.attributes if name not in OURS and not name.endswith(SCORE)]
    classes = {name: attribute_class(span, name) for name in names}
    return {name: f"{name}={one}" for name, one in classes.items() if one != ABSENT}


def _attributes(span: Span, names: Mapping[str, str]) -> Mapping[str, Any]:
    moved = {name: label for name, label in _classes(span).items() if label in names}
    if not moved:
        return span.attributes
    kept = replace(span, attributes={name: one for name, one in span.attributes.items() if name not in moved})
    for label in moved.values():
        name, _, value = names[label].partition("=")
        where = f"data.label_map.{label}"
        if not name or not value:
            raise ConfigError("the class of an attribute, and no class", where=where, next="give NAME=CLASS for it")
        if attribute_class(kept, name) not in (ABSENT, value):
            raise DataError(f"a span has two classes of {name!r} then", where=where, next="give another name")
        told = {name: True if value == "true" else value} if value != ABSENT else {}
        kept = replace(kept, attributes={**kept.attributes, **told})
    return kept.attributes
