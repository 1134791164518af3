"""Labels that a cheap model, trained on the other folds, would not have given: where annotation errors gather."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.text.candidates import Candidate, candidates, features
from clinnlp.text.splits import group_key

FOLDS = 5
LEAST = 10  # examples a label needs to be judged
EPOCHS = 5
WIDTH = 2**18  # hashed features

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label to look at again: `document` is a number in the given sequence, `start` and `end` are None for notes.

    `given` or `predicted` is None where there is no label. `margin` is how much surer the model is of its own.
    """

    document: int
    start: int | None
    end: int | None
    given: str | None
    predicted: str | None
    margin: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How many labels were judged, on how many the model agrees, and the suspects, most suspicious first.

    `left_out` labels were not judged: rare, twofold or in several pieces. `why` says why nothing was judged.
    """

    judged: int = 0
    agree: int = 0
    left_out: int = 0
    suspects: tuple[Suspect, ...] = ()
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Counts; suspects by what was given and predicted, most frequent first."""
        counts = Counter((suspect.given, suspect.predicted) for suspect in self.suspects)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        kinds = [{"given": given, "predicted": predicted, "count": count} for (given, predicted), count in ordered]
        return {
            "judged": self.judged,
            "agree": self.agree,
            "left_out": self.left_out,
            "suspects": len(self.suspects),
            "kinds": kinds,
            "why_nothing": self.why or None,
        }


def span_noise(documents: Sequence[Document], seed: int = 13) -> Disagreement:
    """Spans whose label, or stretches whose lack of one, the other folds contradict.

    The model sees a stretch and two words on either side. Judged are contiguous spans with one label, and the
    stretches outside of spans that read like a span elsewhere.
    """
    found, left_out = candidates(documents)
    enough = {name for name, count in Counter(one.label for one in found).items() if count >= LEAST}
    kept = [one for one in found if one.label in enough]
    names = sorted(enough, key=lambda name: (name is None, name or ""))
    left_out += len(found) - len(kept)
    folds = _folds(documents, seed)
    if reason := _too_little(len(names), len(set(folds.tolist()))):
        return Disagreement(left_out=left_out, why=reason)
    given = np.array([names.index(one.label) for one in kept], np.int64)
    rows = _hashed(features(documents[one.document].text, one) for one in kept)
    odds = _out_of_fold(rows, given, folds[[one.document for one in kept]], len(names), seed)
    suspects = [_suspect(kept[n], names[given[n]], names[other], margin) for n, other, margin in _doubts(odds, given)]
    agree = int((odds.argmax(axis=1) == given).sum())
    return Disagreement(len(kept), agree, left_out, _sorted(suspects))


def note_noise(documents: Sequence[Document], seed: int = 13) -> Disagreement:
    """Notes whose labels the other folds contradict, by TF-IDF of words and a linear model.

    Where notes have one label each, that label is judged; else each label by itself, whether it is there or not.
    """
    labelled = [number for number, document in enumerate(documents) if document.labels]
    counts = Counter(label for document in documents for label in set(document.labels))
    single = all(len(documents[number].labels) == 1 for number in labelled)
    rare = {label for label, count in counts.items() if count < LEAST}
    if single:
        kept = [number for number in labelled if documents[number].labels[0] not in rare]
        names = sorted(set(counts) - rare)
    else:
        kept = list(range(len(documents)))
        names = sorted(label for label in set(counts) - rare if len(documents) - counts[label] >= LEAST)
    left_out = sum(counts.values()) - sum(counts[name] for name in names)
    folds = _folds(documents, seed)[kept]
    if reason := _too_little(len(names) + (not single), len(set(folds.tolist()))):
        return Disagreement(left_out=left_out, why=reason)
    rows = _tfidf([documents[number].text for number in kept])
    if single:
        given = np.array([names.index(documents[number].labels[0]) for number in kept], np.int64)
        odds = _out_of_fold(rows, given, folds, len(names), seed)
        doubts = [(kept[n], names[given[n]], names[other], margin) for n, other, margin in _doubts(odds, given)]
        agree = int((odds.argmax(axis=1) == given).sum())
        return Disagreement(len(kept), agree, left_out, _sorted([_note(*doubt) for doubt in doubts]))
    suspects, agree = [], 0
    for name in names:
        given = np.array([name in documents[number].labels for number in kept], np.int64)
        odds = _out_of_fold(rows, given, folds, 2, seed)
        agree += int((odds.argmax(axis=1) == given).sum())
        for n, other, margin in _doubts(odds, given):
            suspects.append(_note(kept[n], None if other else name, name if other else None, margin))
    return Disagreement(len(kept) * len(names), agree, left_out, _sorted(suspects))


def _doubts(odds: npt.NDArray[np.float64], given: Ints) -> list[tuple[int, int, float]]:
    """The examples (number, other class, margin) whose class is confidently another (Northcutt et al. 2021).

    Odds (N, C): the other class must be likelier than all else together, and at least as likely as it is on average
    where it is given.
    """
    rows = np.arange(len(given))
    usual = np.array([odds[given == c, c].mean() if (given == c).any() else 1.0 for c in range(odds.shape[1])])
    best = odds.argmax(axis=1)
    doubtful = np.flatnonzero((best != given) & (odds[rows, best] >= np.maximum(usual[best], 0.5)))
    return [(int(n), int(best[n]), float(odds[n, best[n]] - odds[n, given[n]])) for n in doubtful]


def _out_of_fold(rows: Any, given: Ints, folds: Ints, classes: int, seed: int) -> npt.NDArray[np.float64]:
    """The probability (N, C) of each class by a logistic regression that was trained on the other folds."""
    from sklearn.linear_model import SGDClassifier

    odds = np.zeros((len(given), classes))
    for fold in np.unique(folds):
        inside = folds == fold
        seen = np.unique(given[~inside])
        if len(seen) < 2:
            odds[np.ix_(inside, seen)] = 1.0
            continue
        model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=EPOCHS, tol=None, average=True, random_state=seed)
        model.fit(rows[~inside], given[~inside])
        odds[np.ix_(inside, seen)] = model.predict_proba(rows[inside])
    return odds


def _folds(documents: Sequence[Document], seed: int) -> Ints:
    """The fold of each document: groups, or without group equal texts, stay together, whatever the order."""
    digests = [sha256(f"{seed}\n{group_key(document)}".encode()).digest() for document in documents]
    return np.array([int.from_bytes(digest[:4], "big") % FOLDS for digest in digests], np.int64)


def _too_little(classes: int, folds: int) -> str:
    if classes < 2:
        return f"fewer than two labels with {LEAST} examples each"
    return "all notes are of one group" if folds < 2 else ""


def _hashed(rows: Iterable[Sequence[str]]) -> Any:
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.preprocessing import normalize

    return normalize(FeatureHasher(WIDTH, input_type="string", alternate_sign=False).transform(rows))


def _tfidf(texts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    counts = HashingVectorizer(n_features=WIDTH, alternate_sign=False, norm=None).transform(texts)
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts)


def _suspect(one: Candidate, given: str | None, predicted: str | None, margin: float) -> Suspect:
    return Suspect(one.document, one.start, one.end, given, predicted, round(margin, 4))


def _note(document: int, given: str | None, predicted: str | None, margin: float) -> Suspect:
    return Suspect(document, None, None, given, predicted, round(margin, 4))


def _sorted(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    return tuple(sorted(suspects, key=lambda one: (-one.margin, one.document, one.start or 0, str(one.given))))
