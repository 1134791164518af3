"""Texts that occur more than once: exactly, or nearly so by MinHash with every match verified."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document

SIMILARITY = 0.8  # Jaccard similarity of word shingles from which two texts are near-duplicates
SHINGLE = 5  # words
BANDS, ROWS = 20, 6  # a pair of similarity s shares a band with probability 1 - (1 - s^6)^20: 0.998 at 0.8
LEADERS = 200  # texts of one bucket that a further one is compared with
DOUBTFUL = 0.1  # how far below the wanted similarity an estimate may lie and still be verified: 2.7 deviations
KEPT = 50_000  # texts whose shingles are kept while candidates are verified
SEED = 1
BATCH = 5_000  # texts sketched at once

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts without spaces between words
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

Numbers = npt.NDArray[np.int64]


def normalised(text: str) -> str:
    """The text in small letters, with one blank for each run of whitespace."""
    return " ".join(text.split()).casefold()


def words(text: str) -> list[str]:
    """The words of a text in small letters: runs of letters and digits; single characters of unspaced scripts."""
    return _WORD.findall(text.casefold())


def shingles(text: str, size: int = SHINGLE, whole: bool = True) -> list[str]:
    """All runs of `size` words; a shorter text is one shingle if `whole`, else none; without words always none."""
    found = words(text)
    if len(found) < size:
        return [" ".join(found)] if found and whole else []
    return list(map(" ".join, zip(*(found[start:] for start in range(size)), strict=False)))


def jaccard(a: str, b: str) -> float:
    """The share of distinct shingles that two texts have in common; NaN if neither holds a word."""
    one, other = set(shingles(a)), set(shingles(b))
    either = len(one | other)
    return len(one & other) / either if either else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class TextIndex:
    """Distinct texts over all splits: `texts` as first met; `places[split]` (N,) the text of each document.

    An empty text has place -1.
    """

    texts: list[str]
    places: Mapping[str, Numbers]

    def held(self, split: str) -> Numbers:
        """The texts of a split, sorted, each once."""
        found = np.unique(self.places[split])
        return np.asarray(found[found >= 0], np.int64)

    def as_dict(self) -> dict[str, Any]:
        """Notes, distinct texts and repeated notes within each split, and what each pair of splits shares."""
        within = {}
        for split, places in self.places.items():
            filled, distinct = int((places >= 0).sum()), len(self.held(split))
            within[split] = {"notes": filled, "distinct": distinct, "repeated": filled - distinct}
        across = {}
        for first, second in pairs(self.places):
            shared = np.intersect1d(self.held(first), self.held(second), assume_unique=True)
            notes = {f"notes of {name}": int(np.isin(self.places[name], shared).sum()) for name in (first, second)}
            across[f"{first}/{second}"] = {"texts": len(shared), **notes}
        return {"within": within, "across": across}


def index_texts(parts: Mapping[str, Sequence[Document]], form: Callable[[str], str] = normalised) -> TextIndex:
    """Number the distinct texts of all splits; two are the same if `form` makes the same string of them."""
    known: dict[bytes, int] = {}
    texts: list[str] = []
    places: dict[str, Numbers] = {}
    for split, documents in parts.items():
        row = np.full(len(documents), -1, np.int64)
        for number, document in enumerate(documents):
            if document.text and not document.text.isspace():
                key = blake2b(form(document.text).encode(), digest_size=16).digest()
                place = known.setdefault(key, len(known))
                if place == len(texts):
                    texts.append(document.text)
                row[number] = place
        places[split] = row
    return TextIndex(texts, places)


def pairs(names: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every two splits, in their order."""
    listed = list(names)
    return [(first, second) for place, first in enumerate(listed) for second in listed[place + 1 :]]


def near_counts(index: TextIndex, sets: Numbers) -> dict[str, Any]:
    """Sets of near-duplicates and the notes in them, by split and by pair of splits.

    `sets` (T,) is what `near_sets` says of the distinct texts. A note counts for its split if another text of its
    set is there, and for a pair if another text of its set, but not its own text, is in the other split.
    """
    size = np.bincount(sets, minlength=len(index.texts)) if len(sets) else np.zeros(0, np.int64)
    holds = {}  # by split: of each text whether it is there, of each set how many of its texts are
    for split in index.places:
        there = np.zeros(len(index.texts), bool)
        there[index.held(split)] = True
        holds[split] = there, np.bincount(sets[there], minlength=len(index.texts))
    within, across = {}, {}
    for split, places in index.places.items():
        twin = holds[split][1][sets] > 1
        within[split] = {"notes": int(twin[places[places >= 0]].sum())}
    for first, second in pairs(index.places):
        row = {}
        for name, other in ((first, second), (second, first)):
            there, texts = holds[other]
            twin = ~there & (texts[sets] > 0)
            places = index.places[name]
            row[f"notes of {name}"] = int(twin[places[places >= 0]].sum())
        across[f"{first}/{second}"] = row
    sizes = size[size > 1]
    return {
        "sets": len(sizes),
        "texts": int(sizes.sum()),
        "largest": int(sizes.max(initial=0)),
        "within": within,
        "across": across,
    }


def near_sets(texts: Sequence[str], similarity: float = SIMILARITY) -> Numbers:
    """The set (T,) each text belongs to, named by its first member; alone where nothing is like it.

    Two texts are joined if the Jaccard similarity of their 5-word shingles is `similarity` or more; sets are the
    connected pieces. Candidates share a band of their MinHash sketches (Broder 1997; Leskovec et al., Mining of
    Massive Datasets, ch. 3) and are verified exactly. Time and memory grow in step with the texts: within a
    bucket a text is compared with one member of each set met, 200 at most, never with all.
    """
    sketches, keys = _sketch_all(texts)
    filled = np.asarray(sketches.any(axis=1), np.bool_)
    sets = _Sets(len(texts))
    hashes = lru_cache(KEPT)(lambda number: _hashes(texts[number]))
    for band in range(BANDS):
        for run in _equal_runs(keys[:, band], filled):
            _join(run, hashes, sketches, sets, similarity)
    return sets.roots()


def sketch(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """The MinHash sketches (T, 120) of texts; a text without words has only zeros."""
    from rensa import RMinHash

    rows = [shingles(text) for text in texts]
    matrix = RMinHash.digest_matrix_from_token_sets(rows, BANDS * ROWS, SEED).to_rows()
    found = np.array(matrix, np.uint32).reshape(len(texts), BANDS * ROWS)
    found[[not row for row in rows]] = 0
    return found


def band_keys(sketches: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """One number for each band of each sketch (T, 20): texts that share one are candidates."""
    parts = sketches.reshape(len(sketches), BANDS, ROWS).astype(np.uint64)
    keys = np.zeros((len(sketches), BANDS), np.uint64)
    for row in range(ROWS):
        keys = (keys ^ parts[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)  # multiplies modulo 2^64
        keys ^= keys >> np.uint64(29)
    return keys


def _sketch_all(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """The last byte of each number of the sketches, enough to estimate a similarity, and the band keys."""
    small = np.zeros((len(texts), BANDS * ROWS), np.uint8)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for start in range(0, len(texts), BATCH):
        rows = sketch(texts[start : start + BATCH])
        small[start : start + BATCH] = rows & 0xFF
        keys[start : start + BATCH] = band_keys(rows)
    return small, keys


def _equal_runs(keys: npt.NDArray[np.uint64], wanted: npt.NDArray[np.bool_]) -> Iterator[Numbers]:
    """The numbers of texts with equal keys, two or more at a time, in order."""
    chosen = np.flatnonzero(wanted)
    order = chosen[np.argsort(keys[chosen], kind="stable")]
    borders = np.flatnonzero(np.diff(keys[order])) + 1
    starts, ends = np.append(0, borders), np.append(borders, len(order))
    for place in np.flatnonzero(ends - starts > 1):
        yield order[starts[place] : ends[place]]


def _hashes(text: str) -> Numbers:
    """The distinct shingles of a text as sorted numbers; they are compared within one process only."""
    return np.unique(np.array([hash(shingle) for shingle in shingles(text)], np.int64))


def _alike(one: Numbers, other: Numbers) -> float:
    """The Jaccard similarity of two sets of shingles, of which neither is empty."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


def _join(
    run: Numbers,
    hashes: Callable[[int], Numbers],
    sketches: npt.NDArray[np.uint8],
    sets: "_Sets",
    similarity: float,
) -> None:
    """Join the texts of one bucket that are near-duplicates."""
    leaders = np.zeros(LEADERS, np.int64)  # one text of each set met, the latest LEADERS of them
    count = 0
    met: set[int] = set()
    for number in run.tolist():
        if sets.find(number) in met:
            continue
        some = leaders[: min(count, LEADERS)]
        agreement = (sketches[some] == sketches[number]).mean(axis=1)
        likely = np.flatnonzero(agreement >= similarity - DOUBTFUL)
        for place in likely[np.argsort(-agreement[likely], kind="stable")][:4].tolist():
            if _alike(hashes(number), hashes(int(some[place]))) >= similarity:
                met.add(sets.join(number, int(some[place])))
                break
        else:
            leaders[count % LEADERS] = number
            count += 1
            met.add(sets.find(number))


class _Sets:
    """Disjoint sets of numbers, named by their smallest member (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, number: int) -> int:
        parent = self.parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def join(self, one: int, other: int) -> int:
        first, second = sorted((self.find(one), self.find(other)))
        self.parent[second] = first
        return first

    def roots(self) -> Numbers:
        return np.array([self.find(number) for number in range(len(self.parent))], np.int64)
