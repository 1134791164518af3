"""What one split knows of another: patients and whole texts in both. Cheap enough to run before every training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from clinnlp.core.document import Document
from clinnlp.text.duplicates import normalised, pairs

LONG = 200  # characters from which an equal text is the same note copied, not a phrase that notes share


Kind = Literal["groups", "duplicates", "short texts", "same notes"]


@dataclass(frozen=True, slots=True)
class Leak:
    """How much `first` and `second` share: `count` groups, or texts, and the notes of `second` that have them."""

    kind: Kind
    first: str
    second: str
    count: int
    notes: int


def find_leaks(parts: Mapping[str, Sequence[Document]]) -> list[Leak]:
    """Groups, texts of LONG or more characters and shorter texts that stand in two splits, pair by pair.

    `same notes` where half of a split or more is, id and text, another split: one file was given for both.
    Texts are equal if they differ in nothing but whitespace and the case of letters; empty ones never are. Only
    hashes are kept: time and memory grow in step with the notes.
    """
    held = {name: documents for name, documents in parts.items() if documents}
    if len(held) < 2:
        return []
    views: dict[str, dict[str, list[str | bytes | None]]] = {"groups": {}, "duplicates": {}, "short texts": {}}
    for name, documents in held.items():
        views["groups"][name] = [document.group for document in documents]
        keys = [_key(document.text) for document in documents]
        views["duplicates"][name] = [key if long else None for key, long in keys]
        views["short texts"][name] = [None if long else key for key, long in keys]
    kinds: tuple[Kind, ...] = ("groups", "duplicates", "short texts")
    leaks = []
    for first, second in pairs(held):
        for kind in kinds:
            shared = (set(views[kind][first]) & set(views[kind][second])) - {None}
            if shared:
                notes = sum(value in shared for value in views[kind][second])
                leaks.append(Leak(kind, first, second, len(shared), notes))
        same = same_notes(held[first], held[second])
        if 2 * same >= len(held[second]):
            leaks.append(Leak("same notes", first, second, same, same))
    return leaks


def same_notes(first: Iterable[Document], second: Iterable[Document]) -> int:
    """How many documents of the second are in the first by id and text, up to whitespace and case; empty ones not."""
    known = {(document.id, normalised(document.text)) for document in first}
    return sum(
        bool(text) and (document.id, text) in known for document in second for text in (normalised(document.text),)
    )


def long_text_hashes(texts: Iterable[str], salt: str) -> list[str]:
    """A salted 8-byte hash, as hexadecimal, of each distinct text of LONG or more characters, sorted."""
    made = set()
    for text in map(normalised, texts):
        if len(text) >= LONG:
            made.add(_salted(text, salt))
    return sorted(made)


def notes_among(documents: Iterable[Document], hashes: Iterable[str], salt: str) -> int:
    """How many documents have a text whose hash, made by `long_text_hashes`, is among these."""
    known = set(hashes)
    found = 0
    for document in documents:
        text = normalised(document.text)
        found += len(text) >= LONG and _salted(text, salt) in known
    return found


def _key(text: str) -> tuple[bytes | None, bool]:
    """The hash of a text, None for an empty one, and whether it is long."""
    plain = normalised(text)
    return blake2b(plain.encode(), digest_size=16).digest() if plain else None, len(plain) >= LONG


def _salted(text: str, salt: str) -> str:
    return blake2b(text.encode(), digest_size=8, key=salt.encode()[:64]).hexdigest()
