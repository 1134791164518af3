"""A span as a row of NOTE_NLP and back: the length limits of the table, and what has no column of its own."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clinnlp.core.document import Span
from clinnlp.errors import DataError
from clinnlp.formats._bytes import Bad, encode
from clinnlp.formats._records import dump_json, parse_json

VARIANT, SNIPPET, MODIFIERS = 250, 250, 2000  # characters
CONCEPTS = ("section_concept_id", "note_nlp_concept_id", "note_nlp_source_concept_id")
TERMS = {"term_exists": 1, "term_temporal": 50}
RESERVED = re.compile("[%;\x00-\x1f\x7f]")
ESCAPED = re.compile("%([0-9A-F]{2})")
BIG = 2**31


@dataclass(frozen=True, slots=True)
class Row:
    """Where a row of NOTE_NLP says that its words stand."""

    id: int
    start: int
    end: int
    kept: str


def to_row(span: Span, text: str, counts: Counter[str]) -> dict[str, Any]:
    """The columns of a span, without ids, system and date; what is shortened is counted by column.

    Raises DataError for a label that does not fit.
    """
    words = text[span.start : span.end]
    counts["lexical_variants_shortened"] += len(words) > VARIANT
    columns = {name: value for name, value in span.attributes.items() if _has_column(name, value)}
    modifiers, dropped = _modifiers(span, {k: v for k, v in span.attributes.items() if k not in columns})
    counts["term_modifiers_shortened"] += dropped
    return {
        **dict.fromkeys((*CONCEPTS, *TERMS)),
        **columns,
        "snippet": snippet(text, span.start, span.end),
        "offset": str(span.start),
        "offset_start": span.start,
        "offset_end": span.end,
        "lexical_variant": words[:VARIANT],
        "term_modifiers": modifiers,
    }


def snippet(text: str, start: int, end: int) -> str:
    """The words with what stands around them, as much as the column holds."""
    around = max(SNIPPET - (end - start), 0) // 2
    first = max(start - around, 0)
    return text[first : first + SNIPPET]


def _has_column(name: str, value: object) -> bool:
    if name in CONCEPTS:
        return isinstance(value, int) and not isinstance(value, bool) and -BIG <= value < BIG
    return name in TERMS and isinstance(value, str) and 0 < len(value) <= TERMS[name] and value.isprintable()


def _modifiers(span: Span, attributes: Mapping[str, Any]) -> tuple[str, bool]:
    """`label=...;end=...;score=...;fragments=...;attributes=...`, and whether the last of these had to be dropped."""
    parts = [f"label={_escape(span.label)}", f"end={span.end}"]
    if len(";".join(parts)) > MODIFIERS:
        raise DataError(f"a label of {len(span.label)} characters does not fit into term_modifiers({MODIFIERS})")
    if span.score is not None:
        parts.append(f"score={float(span.score)!r}")
    if span.fragments:
        parts.append("fragments=" + ",".join(f"{start}-{end}" for start, end in span.fragments))
    if attributes:
        parts.append("attributes=" + _escape(dump_json(dict(attributes))))
    whole = len(parts)
    while len(";".join(parts)) > MODIFIERS:
        parts.pop()
    encode("".join(parts))
    return ";".join(parts), len(parts) < whole


def _escape(value: str) -> str:
    return RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", value)


def _plain(value: str) -> str:
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


def parse_modifiers(value: object) -> dict[str, str]:
    """The parts of term_modifiers that `to_row` wrote; empty if another system wrote it."""
    if not isinstance(value, str) or not value.startswith("label="):
        return {}
    parts = (part.partition("=") for part in value.split(";"))
    return {name: _plain(held) for name, _, held in parts}


def place(record: Mapping[str, Any]) -> Row:
    """Where a row says that its words stand; offset_start and offset_end of the 2023 branch count first. Raises Bad."""
    held, kept = parse_modifiers(record.get("term_modifiers")), record.get("lexical_variant")
    if not isinstance(kept, str) or not kept:
        raise Bad("lexical_variant is empty")
    start = record.get("offset_start")
    start = _number(record.get("offset") if start is None else start, "offset")
    end = held.get("end", record.get("offset_end"))
    return Row(record["note_nlp_id"], start, start + len(kept) if end is None else _number(end, "end"), kept)


def check(row: Row, text: str) -> None:
    """Raises Bad unless the words of the row, or as many as it kept, are what stands in the note at its offset."""
    if not 0 <= row.start < row.end <= len(text):
        raise Bad("its offsets lie outside the note")
    if text[row.start : row.start + len(row.kept)] != row.kept:
        raise Bad("lexical_variant is not what stands at its offset")
    if row.end - row.start != len(row.kept) and not len(row.kept) == VARIANT < row.end - row.start:
        raise Bad("lexical_variant has not the length that its end says")


def to_span(record: Mapping[str, Any], text: str) -> Span:
    """The span of a row of NOTE_NLP, checked against the note. Raises Bad."""
    row, held = place(record), parse_modifiers(record.get("term_modifiers"))
    check(row, text)
    attributes: dict[str, Any] = parse_json(held["attributes"]) if "attributes" in held else {}
    if not isinstance(attributes, dict):
        raise Bad("the attributes in term_modifiers are no object")
    attributes |= {name: record[name] for name in (*CONCEPTS, *TERMS) if record.get(name) not in (None, "")}
    if not held and record.get("term_modifiers"):
        attributes["term_modifiers"] = record["term_modifiers"]
    label = held.get("label")
    if label is None:  # another system's row: what it names is a concept
        label = str(record.get("note_nlp_concept_id") or record.get("note_nlp_source_concept_id") or 0)
    try:
        score = float(held["score"]) if "score" in held else None
        pieces = (piece.split("-") for piece in held.get("fragments", "").split(",") if piece)
        fragments = tuple((int(start), int(end)) for start, end in pieces)
        return Span(row.start, row.end, label, score, attributes, fragments)
    except (ValueError, DataError):
        raise Bad("the score or fragments in term_modifiers are no numbers in order") from None


def _number(value: object, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:20])
    raise Bad(f"{name} is no whole number")
