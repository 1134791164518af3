"""How much of some notes a larger corpus already holds: whole texts, near-duplicates and runs of words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from clinnlp.core.document import Document
from clinnlp.text.duplicates import (
    BANDS,
    DOUBTFUL,
    LEADERS,
    SIMILARITY,
    Numbers,
    band_keys,
    index_texts,
    jaccard,
    normalised,
    shingles,
    sketch,
)

RUN = 8  # words of a run that two texts hardly share by chance
BATCH = 1_000  # texts of the corpus compared at once


class Overlap:
    """What a corpus holds of `documents`; `read` it batch by batch, so that only the documents stay in memory.

    A document is `exact` if the corpus holds its text (up to whitespace and case), `near` if it holds a text
    whose 5-word shingles are alike to SIMILARITY, and its 8-word runs are `seen` one by one.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        index = index_texts({"notes": documents})
        self.place = index.places["notes"]
        self.texts = index.texts
        self.known = {_key(text): number for number, text in enumerate(self.texts)}
        self.exact = np.zeros(len(self.texts), bool)
        self.near = np.zeros(len(self.texts), bool)
        self.sketches = sketch(self.texts)
        keys = band_keys(self.sketches)
        self.orders = [np.argsort(keys[:, band], kind="stable") for band in range(BANDS)]
        self.keys = [keys[order, band] for band, order in enumerate(self.orders)]
        runs = [_runs(text) for text in self.texts]
        self.runs = np.unique(np.concatenate([np.zeros(0, np.int64), *runs]))
        self.runs_of = [np.searchsorted(self.runs, own).astype(np.int64) for own in runs]
        self.seen = np.zeros(len(self.runs), bool)

    def read(self, texts: Sequence[str]) -> None:
        """Compare further texts of the corpus."""
        for text in texts:
            number = self.known.get(_key(text))
            if number is not None:
                self.exact[number] = True
        hashes = np.concatenate([np.zeros(0, np.int64), *(_runs(text) for text in texts)])
        if len(self.runs):
            places = np.minimum(np.searchsorted(self.runs, hashes), len(self.runs) - 1)
            self.seen[places[self.runs[places] == hashes]] = True
        self._read_near(texts)

    def _read_near(self, texts: Sequence[str]) -> None:
        sketches = sketch(texts)
        keys = band_keys(sketches)
        filled = sketches.any(axis=1)
        for band in range(BANDS):
            firsts = np.searchsorted(self.keys[band], keys[:, band], side="left")
            lasts = np.searchsorted(self.keys[band], keys[:, band], side="right")
            for number in np.flatnonzero((lasts > firsts) & filled).tolist():
                some = self.orders[band][firsts[number] : lasts[number]]
                some = some[~(self.near | self.exact)[some]][:LEADERS]
                likely = (self.sketches[some] == sketches[number]).mean(axis=1) >= SIMILARITY - DOUBTFUL
                for other in some[likely].tolist():
                    self.near[other] = jaccard(texts[number], self.texts[other]) >= SIMILARITY

    def as_dict(self) -> dict[str, Any]:
        """Counts over the documents with text: exact ones are not near; `half seen` of whose runs half or more are."""
        place = self.place[self.place >= 0]
        long = np.array([len(own) > 0 for own in self.runs_of], bool)
        share = np.array([self.seen[own].mean() if len(own) else 0.0 for own in self.runs_of], np.float64)
        return {
            "notes": len(place),
            "exact": int(self.exact[place].sum()),
            "near": int((self.near & ~self.exact)[place].sum()),
            "notes with runs": int(long[place].sum()),
            "half seen": int((share >= 0.5)[place].sum()),
            "runs": len(self.runs),
            "runs seen": int(self.seen.sum()),
        }


def overlaps(parts: Mapping[str, Sequence[Document]], corpus: Iterable[Document]) -> dict[str, Overlap]:
    """What a corpus, read once, holds of each split."""
    made = {name: Overlap(documents) for name, documents in parts.items()}
    for batch in _batches(document.text for document in corpus):
        for overlap in made.values():
            overlap.read(batch)
    return made


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, BATCH)):
        yield batch


def _key(text: str) -> bytes:
    return blake2b(normalised(text).encode(), digest_size=16).digest()


def _runs(text: str) -> Numbers:
    """The runs of a text as numbers, which are compared within one process only; a shorter text has none."""
    return np.array([hash(run) for run in shingles(text, RUN, whole=False)], np.int64)
