"""Words that give a label away: a note label that one word decides was probably written into the note."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.text.duplicates import words

AUROC = 0.98  # of the presence of one word, from which it is named
LEAST = 20  # notes with the label, and without it
_TOKEN = r"\w+(?:[.-]\w+)*"
Floats = npt.NDArray[np.float64]

_CODE = re.compile(r"[a-z]\d[\da-z](?:\.[\da-z]{1,4})?|\d{3}\.\d{1,2}")  # as in ICD-10 and ICD-9


@dataclass(frozen=True, slots=True)
class Giveaway:
    """How many words of a `kind` decide a label, and the best AUROC; never the words, which are note text."""

    label: str
    kind: str
    words: int
    auroc: float


def find_giveaways(documents: Sequence[Document]) -> list[Giveaway]:
    """Labels of notes that the presence of a single word decides with an AUROC above 0.98.

    For presence the AUROC is (1 + share of notes with the label that hold it - share without) / 2. Kinds: a word
    of the label's name, a code, a number, a heading (mostly before a colon), a word.
    """
    labels = sorted({label for document in documents for label in document.labels})
    given = np.array([[label in document.labels for label in labels] for document in documents], np.float64)
    given = given.reshape(len(documents), len(labels))
    enough = (given.sum(axis=0) >= LEAST) & ((1 - given).sum(axis=0) >= LEAST)
    if not enough.any():
        return []
    names, shares = _presence([document.text for document in documents], given[:, enough])
    found = []
    for column, label in enumerate(np.array(labels, dtype=object)[enough]):
        best = np.flatnonzero(shares[column] > AUROC)
        kinds: dict[str, list[float]] = {}
        for place in best.tolist():
            kinds.setdefault(_kind(names[place], label, documents), []).append(float(shares[column, place]))
        found += [Giveaway(label, kind, len(values), max(values)) for kind, values in sorted(kinds.items())]
    return found


def _presence(texts: Sequence[str], given: Floats) -> tuple[list[str], Floats]:
    """The words that enough notes hold, and the AUROC of each for each label (L, W)."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, min_df=min(LEAST, len(texts)), token_pattern=_TOKEN)
    try:
        held = counter.fit_transform(texts)
    except ValueError:  # no word is held by enough notes
        return [], np.zeros((given.shape[1], 0))
    with_label, total = (held.T @ given).T, np.asarray(held.sum(axis=0)).reshape(1, -1)
    positives = given.sum(axis=0)[:, None]
    without = (total - with_label) / (len(texts) - positives)
    return counter.get_feature_names_out().tolist(), (1 + with_label / positives - without) / 2


def _kind(token: str, label: str, documents: Sequence[Document]) -> str:
    if set(words(token)) & set(words(label)):
        return "a word of the label's name"
    if _CODE.fullmatch(token):
        return "a code"
    if token.replace(".", "").replace("-", "").isdigit():
        return "a number"
    place = re.compile(rf"\b{re.escape(token)}\b(\s*:)?", re.IGNORECASE)
    heads = [bool(match.group(1)) for d in documents if label in d.labels for match in place.finditer(d.text)]
    return "a heading" if heads and sum(heads) > len(heads) / 2 else "a word"
