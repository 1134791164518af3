"""Notes that read otherwise than those a model was trained on: another language, or another kind of text."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from clinnlp.core.document import Document

FEWEST = 10  # words of a note that say something about its language
_WORD = re.compile(r"[^\W\d_]+")


def known_shares(train: Sequence[Document], documents: Iterable[Document]) -> list[float | None]:
    """The share of the running words of each document that the training notes hold; None for very short ones."""
    known = {word for document in train for word in _words(document)}
    return [_share(words, known) for document in documents for words in (_words(document),)]


def foreign_notes(train: Sequence[Document], documents: Sequence[Document]) -> int:
    """How many documents share less than half as many words with the training notes as those do among themselves.

    What is usual is the median over the training notes, each held against the others.
    """
    notes = Counter(word for document in train for word in set(_words(document)))
    among = {word for word, count in notes.items() if count > 1}
    usual = [share for document in train if (share := _share(_words(document), among)) is not None]
    if not usual:
        return 0
    border = median(usual) / 2
    return sum(share is not None and share < border for share in known_shares(train, documents))


def _words(document: Document) -> list[str]:
    return _WORD.findall(document.text.lower())


def _share(words: Sequence[str], known: set[str]) -> float | None:
    return sum(word in known for word in words) / len(words) if len(words) >= FEWEST else None
