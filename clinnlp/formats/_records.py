"""A record with fields (a JSON object, a CSV or Parquet row) as a document, and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError
from clinnlp.formats._bytes import Bad
from clinnlp.formats._surface import other_unit
from clinnlp.formats.base import Ordinal

SPAN_KEYS = {"start", "end", "label", "score", "text", "fragments", "attributes"}


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a record holds what."""

    id: str
    text: str
    spans: str
    labels: str
    group: str
    meta: str = "meta"

    @property
    def all(self) -> tuple[str, ...]:
        return (self.id, self.text, self.spans, self.labels, self.group, self.meta)

    def check(self) -> None:
        """Raises DataError if two of them are one field."""
        if len(set(self.all)) < len(self.all):
            raise DataError("two of the fields id, text, spans, labels, group and meta have one name")

    def check_columns(self, columns: list[str], where: str, next: str = "name the right column") -> None:
        """Raises DataError for a column that occurs twice, or is missing though it was asked for: `next` helps then."""
        self.check()
        told = f"the columns are {', '.join(_shown(column, n) for n, column in enumerate(columns, 1)) or '(none)'}"
        for n, column in enumerate(columns, 1):
            if column in columns[: n - 1]:
                raise DataError(f"column {_shown(column, n)} occurs twice", where=where, next="rename one of them")
        defaults = ("id", None, "spans", "labels", "group", "meta")  # text must always be there
        for column, default in zip(self.all, defaults, strict=True):
            if column not in columns and column != default:
                raise DataError(f"there is no column {column!r}; {told}", where=where, next=next)


@dataclass(frozen=True)
class Named:
    """The options of formats whose records have named fields or columns."""

    id_field: str = "id"
    """Field or column with the note's id; where a record has no `id`, its number in the file is the id."""
    text_field: str = "text"
    """Field or column with the note."""
    spans_field: str = "spans"
    """Field or column with the labelled spans."""
    labels_field: str = "labels"
    """Field or column with the note's classes: a list, or one string."""
    group_field: str = "group"
    """Field or column with the patient, or whatever else no split may cut."""

    @property
    def fields(self) -> Fields:
        return Fields(self.id_field, self.text_field, self.spans_field, self.labels_field, self.group_field)


def _shown(column: str, n: int) -> str:
    # a file without a header has a note in its first row: only what looks like a name is told
    return repr(column) if len(column) <= 40 and column.isprintable() and column.count(" ") < 4 else f"number {n}"


def parse_json(text: str) -> Any:
    """JSON, strictly: no key twice, no NaN, no infinity, no lone surrogate. Raises Bad."""
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_not_a_number, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        raise Bad(f"not valid JSON at character {error.pos} ({error.msg.partition(':')[0]})") from None
    except RecursionError:
        raise Bad("JSON nested too deeply") from None
    except UnicodeEncodeError:
        raise Bad("holds a lone surrogate, which is not valid Unicode") from None
    except Bad:
        raise
    except ValueError:
        raise Bad("holds a number with too many digits") from None


def object_or_text(cell: str) -> Any:
    """The JSON object a cell holds, or the cell itself if it holds none."""
    try:
        value = parse_json(cell)
    except Bad:
        return cell
    return value if isinstance(value, dict) else cell


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Bad("an object holds the same key twice")
    return made


def _not_a_number(_: str) -> float:
    raise Bad("holds NaN or Infinity, which JSON does not know")


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise Bad("holds a number too large for a float")
    return value


def dump_json(value: Any) -> str:
    """Strict JSON on one line. Raises DataError for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"meta or attributes hold what JSON cannot ({type(error).__name__})") from None


def to_document(record: Mapping[str, Any], fields: Fields, ordinal: int) -> Document:
    """The document of a record; other fields go to meta. Raises Bad."""
    text = record.get(fields.text)
    if not isinstance(text, str):
        missing = "is missing: if another field holds the note, set text_field"
        held = missing if fields.text not in record else f"is {_kind(text)}, not a string"
        raise Bad(f"field {fields.text!r} {held}")
    if fields.id in record:
        id = _name(record[fields.id], fields.id)
    elif fields.id != "id":
        raise Bad(f"field {fields.id!r} is missing")
    else:
        id = Ordinal(ordinal)
    group = record.get(fields.group)
    others = {key: value for key, value in record.items() if key not in fields.all}
    held_meta = record.get(fields.meta)
    if isinstance(held_meta, dict) and not held_meta.keys() & others.keys():
        meta = held_meta | others
    else:
        meta = others if held_meta is None else others | {fields.meta: held_meta}
    try:
        return Document(
            id=id,
            text=text,
            spans=_spans(record.get(fields.spans), text, fields.spans),
            labels=_labels(record.get(fields.labels), fields.labels),
            group=None if group in (None, "") else _name(group, fields.group),  # "" is no patient
            meta=meta,
        )
    except DataError as error:
        raise Bad(error.what) from None


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _name(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Bad(f"field {field!r} is {_kind(value)}: store it as a string")


def _labels(value: object, field: str) -> tuple[str, ...]:
    if value in (None, ""):
        return ()
    return tuple(_name(label, field) for label in (value if isinstance(value, list) else [value]))


def _spans(value: object, text: str, field: str) -> tuple[Span, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Bad(f"field {field!r} is {_kind(value)}, not a list")
    return tuple(_span(entry, text, number) for number, entry in enumerate(value, 1))


def _span(entry: object, text: str, number: int) -> Span:
    if not isinstance(entry, dict):
        raise Bad(f"span {number} is {_kind(entry)}, not an object")
    start, end = _place(entry.get("start"), number), _place(entry.get("end"), number)
    if not 0 <= start < end:
        raise Bad(f"span {number} is empty or reversed")
    label, score, surface = entry.get("label"), entry.get("score"), entry.get("text")
    if end > len(text):
        told = f"span {number} ends outside the text of {len(text)} characters"
        raise Bad(_other_unit(text, start, end, surface) or told)
    if not isinstance(label, str):
        raise Bad(f"the label of span {number} is {_kind(label)}, not a string")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise Bad(f"the score of span {number} is {_kind(score)}, not a number")
    fragments = _fragments(entry.get("fragments"), (start, end), number)
    if surface is not None and surface not in (text[start:end], " ".join(text[a:b] for a, b in fragments)):
        told = f"the text of span {number} is not what stands at its offsets"
        raise Bad(_other_unit(text, start, end, surface) or told)
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise Bad(f"the attributes of span {number} are {_kind(attributes)}, not an object")
    others = {key: value for key, value in entry.items() if key not in SPAN_KEYS}
    return Span(start, end, label, score, others | attributes, fragments)


def _other_unit(text: str, start: int, end: int, surface: object) -> str:
    return other_unit(text, [(start, end)], surface) if isinstance(surface, str) else ""


def _fragments(value: object, bounds: tuple[int, int], number: int) -> tuple[tuple[int, int], ...]:
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise Bad(f"the fragments of span {number} are not a list of pairs")
    pieces = sorted((_place(a, number), _place(b, number)) for a, b in value)
    if pieces == [bounds]:
        return ()
    if len(pieces) < 2 or not all(a < b <= c < d for (a, b), (c, d) in pairwise(pieces)):
        raise Bad(f"the fragments of span {number} overlap or are empty")
    if (pieces[0][0], pieces[-1][1]) != bounds:
        raise Bad(f"the fragments of span {number} do not reach its bounds")
    return tuple(pieces)


def _place(value: object, number: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Bad(f"an offset of span {number} is {_kind(value)}, not a whole number")
    return value


def to_spans(document: Document) -> list[dict[str, Any]]:
    """The spans of a document as JSON objects, with nothing in them that says nothing."""
    made = []
    for span in document.spans:
        entry: dict[str, Any] = {"start": span.start, "end": span.end, "label": span.label}
        if span.score is not None:
            entry["score"] = span.score
        if span.fragments:
            entry["fragments"] = [list(pair) for pair in span.fragments]
        if span.attributes:
            entry["attributes"] = dict(span.attributes)
        made.append(entry)
    return made
