"""Turns frames (sentences with slots) into text with exact spans."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

LABEL_OF = {"P": "PROBLEM", "M": "MEDICATION", "D": "DOSE", "T": "TEST", "A": "ANATOMY"}
STATES = {"-": "negated", "f": "family", "h": "hypothetical", "u": "uncertain"}
# {slot} {^slot} {slot:argument} <P|literal entity> <P-|negated literal>
MARK = re.compile(r"\{(\^?)(\w+)(?::([\w-]+))?\}|<([PMDTA])([-fhu]?)\|([^>]+)>")
WORD = re.compile(r"(?<![\w{\[*])[a-z]{6,}(?![\w*\]])")


@dataclass(frozen=True)
class Piece:
    """A run of text: an entity if `label` is set."""

    text: str
    label: str = ""
    state: str = ""


@dataclass
class Draft:
    """A note being written: text grows at the end only, so a span's offsets are known when it is added."""

    newline: str = "\n"
    case: str = ""
    typos: Random | None = None
    typo_rate: float = 0.02
    length: int = 0
    parts: list[str] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Append a piece: entities are never misspelled here, their misspellings are in the vocabulary."""
        text = piece.text
        if not piece.label:
            if self.typos is not None:
                text = WORD.sub(self._misspell, text)
            text = text.replace("\n", self.newline)
        if self.case:
            text = getattr(text, self.case)()
        if piece.label:
            span: dict[str, Any] = {"start": self.length, "end": self.length + len(text), "label": piece.label}
            if piece.state:
                span["attributes"] = {piece.state: True}
            self.spans.append(span)
        self.parts.append(text)
        self.length += len(text)

    def text(self) -> str:
        """The note so far."""
        return "".join(self.parts)

    def _misspell(self, match: re.Match[str]) -> str:
        word, rng = match.group(), self.typos
        if rng is None or rng.random() >= self.typo_rate:
            return word
        place = rng.randrange(1, len(word) - 2)
        return rng.choice(
            (
                word[:place] + word[place + 1] + word[place] + word[place + 2 :],
                word[:place] + word[place + 1 :],
                word[:place] + word[place] + word[place:],
            )
        )


def fill(frame: str, slot: Callable[[str, str], Piece]) -> list[Piece]:
    """The pieces of a frame: `slot(name, argument)` fills `{name:argument}`, `{^name}` capitalises it."""
    pieces, last = [], 0
    for match in MARK.finditer(frame):
        if match.start() > last:
            pieces.append(Piece(frame[last : match.start()]))
        last = match.end()
        upper, name, argument, letter, state, literal = match.groups()
        if letter:
            pieces.append(Piece(literal, LABEL_OF[letter], STATES.get(state, "")))
            continue
        piece = slot(name, argument or "")
        if upper:
            piece = Piece(piece.text[:1].upper() + piece.text[1:], piece.label, piece.state)
        pieces.append(piece)
    if last < len(frame):
        pieces.append(Piece(frame[last:]))
    return pieces
