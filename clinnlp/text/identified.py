"""Text that looks as if it names a patient, or comes from a collection that one must sign for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from clinnlp.core.document import Document

_DATE = r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}\.? +[^\W\d]{3,12}\.? +\d{4}|[^\W\d]{3,12}\.? +\d{1,2},? +\d{4})"
_NUMBER = re.compile(r"\d[-. ]\d\d\d\d")  # what telephone and security numbers hold: quick to look for


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text: its pattern, and what a text must hold for the slower pattern to be tried.

    `words` are in small letters; a text needs one of them. Repetitions in patterns are bounded or possessive, so
    that no text makes them slow.
    """

    pattern: re.Pattern[str]
    words: tuple[str, ...] = ("",)
    number: bool = False

    def count(self, text: str, small: str) -> int:
        """How often it stands in a text, which is given in small letters too."""
        if not any(word in small for word in self.words) or (self.number and not _NUMBER.search(text)):
            return 0
        return sum(1 for _ in self.pattern.finditer(text))


def _kind(pattern: str, *words: str, number: bool = False) -> Kind:
    return Kind(re.compile(pattern, re.IGNORECASE), words or ("",), number)


FIELDS = "hadm_id, subject_id and the like"
MIMIC_III = "[**...**] placeholder, as in MIMIC-III"
MIMIC_IV = "___ placeholder, as in MIMIC-IV"
KINDS: dict[str, Kind] = {
    MIMIC_III: _kind(r"\[\*\*[^\]\n]{0,120}\*\*\]", "[**"),
    MIMIC_IV: _kind(r"(?<![_\w])___(?![_\w])", "___"),
    FIELDS: _kind(r"\b(?:hadm|subject|icustay|stay)_id\b", "_id"),
    "record number or record date, as in i2b2": _kind(
        r"\brecord ?# ?\d{1,9}|\brecord date: ?\d{4}-\d\d-\d\d", "record"
    ),
    "medical record number": _kind(
        r"\b(?:MRN|MR ?#|medical record(?: number| no\.?)?|unit no\.?|patient id|NHC|fallnummer|patientennummer)"
        r"[ :#.\-]{0,5}[A-Z]{0,3}-?\d{5,12}(?!\d)",
        *("mrn", "mr#", "mr #", "medical record", "unit no", "patient id", "nhc", "fallnummer", "patientennummer"),
    ),
    "telephone number": _kind(
        r"(?<![\d./-])(?:\+?1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\d/-])", number=True
    ),
    "international telephone number": _kind(r"(?<![\d+])\+\d{1,3}(?:[ .-]?\(?\d{2,4}\)?){2,5}(?!\d)", "+"),
    "e-mail address": _kind(r"(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}", "@"),
    "date of birth": _kind(
        r"\b(?:DOB|D\.O\.B\.?|(?:date of )?birth(?: ?date)?|born(?: on)?|fecha de nacimiento|geburtsdatum"
        rf"|geb\.(?: ?am)?)[ :\-]{{0,4}}{_DATE}",
        *("dob", "d.o.b", "birth", "born", "nacimiento", "geb"),
    ),
    "US social security number": _kind(
        r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])", number=True
    ),
}
CREDENTIALED = tuple(KINDS)[:4]  # marks of collections under a data use agreement


def placeholders(text: str) -> list[tuple[int, int]]:
    """Where de-identification put a placeholder, `___` or `[**...**]`: half-open stretches of characters, in order.

    None shares a character with another: a `___` within brackets is a part of what stands there.
    """
    kinds = [KINDS[kind] for kind in (MIMIC_III, MIMIC_IV) if KINDS[kind].words[0] in text]
    apart: list[tuple[int, int]] = []
    for start, end in sorted(found.span() for kind in kinds for found in kind.pattern.finditer(text)):
        if not apart or start >= apart[-1][1]:
            apart.append((start, end))
    return apart


@dataclass(frozen=True, slots=True)
class Identified:
    """How often each kind was found, `matches`, and in how many `notes`; a kind never found is not named."""

    notes: dict[str, int] = field(default_factory=dict)
    matches: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {
            kind: {"notes": self.notes[kind], "matches": self.matches[kind]} for kind in KINDS if kind in self.notes
        }


def find_identified(documents: Iterable[Document]) -> Identified:
    """Count text that looks identified or credentialed, by kind of KINDS; the text itself is not kept.

    Fields of `meta` count by their names. Only patterns are looked for: no names, no addresses. Nothing found does
    not mean that notes are de-identified.
    """
    found = Identified()
    for document in documents:
        small = document.text.lower()
        for name, kind in KINDS.items():
            count = kind.count(document.text, small)
            if name == FIELDS and document.meta:
                fields = " ".join(str(key) for key in document.meta)
                count += kind.count(fields, fields.lower())
            if count:
                found.notes[name] = found.notes.get(name, 0) + 1
                found.matches[name] = found.matches.get(name, 0) + count
    return found
