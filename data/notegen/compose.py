"""Writes whole notes: sections, headings, lists, long stays, and the split's way with line ends and typing errors."""

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from notegen.draft import Draft, Piece, fill
from notegen.facts import Book, Facts, Patient, Section
from notegen.lexicon import LABELS, Lexicon, categories

CATEGORY = categories()
LONG_TYPES = ("discharge_summary", "progress_note")
SENTENCE_END = re.compile(r"[\r\n]+|(?<=[.?!])\s+")
MIN_WORDS = 8


@dataclass
class Plan:
    """What makes one note: its type, whether it is brief or long, and the sentences it must not say."""

    note_type: str
    length: str = ""
    crlf: bool = False
    forbidden: set[str] = field(default_factory=set)


def long_sentences(text: str) -> list[str]:
    """The sentences of at least eight words, with single blanks."""
    found = [" ".join(part.split()) for part in SENTENCE_END.split(text)]
    return [sentence for sentence in found if sentence.count(" ") >= MIN_WORDS - 1]


def write_note(rng: Random, words: Lexicon, patient: Patient, book: Book, plan: Plan) -> dict[str, Any]:
    """One note as a jsonl record without id."""
    case = ""
    if plan.note_type == "nursing_note" and rng.random() < 0.25:
        case = "lower"
    elif plan.note_type == "radiology_report" and rng.random() < 0.12:
        case = "upper"
    typos = Random(rng.randrange(2**32)) if rng.random() < 0.2 else None
    draft = Draft("\r\n" if plan.crlf else "\n", case, typos)
    writer = Writer(rng, draft, Facts(rng, words, patient, book.style), book, plan.forbidden)
    if plan.length == "brief":
        writer.add(writer.pieces(rng.choice(book.brief[plan.note_type])))
    else:
        writer.sections(book.layouts[plan.note_type])
    if plan.length == "long":
        writer.days(rng.randrange(17, 25))
    return {
        "text": draft.text(),
        "spans": draft.spans,
        "labels": note_labels(draft),
        "group": patient.group,
        "note_type": plan.note_type,
        "meta": {"note_type": plan.note_type},
    }


def note_labels(draft: Draft) -> list[str]:
    """The labels of the problems that the note affirms of the patient, in name order."""
    text = draft.text()
    found = set()
    for span in draft.spans:
        if span["label"] == "PROBLEM" and "attributes" not in span:
            found.add(CATEGORY.get(text[span["start"] : span["end"]].casefold(), ""))
    return [label for label in LABELS if label in found]


class Writer:
    """Adds sections to a draft."""

    def __init__(self, rng: Random, draft: Draft, facts: Facts, book: Book, forbidden: set[str]) -> None:
        self.rng, self.draft, self.facts, self.book, self.forbidden = rng, draft, facts, book, forbidden
        self.heading = rng.choice(book.headings)
        self.bullet = rng.choice(book.bullets)

    def sections(self, layout: tuple[Section, ...]) -> None:
        """Every section of a layout, each with its chance."""
        for section in layout:
            if self.rng.random() < section.chance:
                self.section(section, "")

    def days(self, count: int) -> None:
        """A long stay: one section for each day."""
        for number in range(1, count + 1):
            self.section(self.book.day, f" {number}")

    def section(self, section: Section, suffix: str) -> None:
        """A heading and some of the section's frames."""
        if self.draft.length:
            self.plain("\n\n" if self.rng.random() < 0.6 else "\n")
        if section.headings:
            title = self.rng.choice(section.headings) + suffix
            heading = self.heading.replace("{upper}", title.upper()).replace("{plain}", title)
            self.plain(heading if section.mode == "prose" else heading.rstrip(" -") + "\n" * heading.endswith(" "))
        count = min(self.rng.randrange(section.low, section.high + 1), len(section.frames))
        written = 0
        named: set[str] = set()
        for frame in self.rng.sample(section.frames, count):
            pieces = self.pieces(frame, stop=section.mode == "prose")
            problems = {piece.text.casefold() for piece in pieces if piece.label == "PROBLEM"}
            if not pieces or (section.mode == "bullets" and problems and problems <= named):
                continue
            named |= problems
            if written:
                self.plain(" " if section.mode == "prose" else "\n")
            written += 1
            if section.mode == "bullets":
                self.plain(self.bullet.replace("{n}", str(written)))
            self.add(pieces)

    def pieces(self, frame: str, stop: bool = False) -> list[Piece]:
        """A filled frame; one that says what it must not is filled anew, and is empty at the fifth time."""
        for _ in range(5):
            pieces = fill(frame, self.facts.fill)
            if stop and pieces[-1].text[-1] not in ".?!":
                pieces.append(Piece("."))
            if not self.forbidden or self.forbidden.isdisjoint(long_sentences("".join(p.text for p in pieces))):
                return pieces
        return []

    def add(self, pieces: list[Piece]) -> None:
        """Pieces as they are."""
        for piece in pieces:
            self.draft.add(piece)

    def plain(self, text: str) -> None:
        """Text that is no entity."""
        self.draft.add(Piece(text))
