"""Which notes stand best for all of them: greedy coverage of a collection by few."""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.errors import DataError

Similarities = npt.NDArray[np.float32]

CELLS = 60_000_000  # similarities kept: 240 MB
GROUND = 2_000  # most notes that stand for all when coverage is measured


def word_vectors(documents: Sequence[Document]) -> Any:
    """TF-IDF of words, (N, D) sparse with rows of length 1, or 0 without words. Raises DataError if there are none."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+", dtype=np.float32)
    try:
        return words.fit_transform([document.text for document in documents])
    except ValueError:
        raise DataError("the notes hold no words", next="check the path and the format") from None


def centred(vectors: npt.NDArray[Any]) -> Similarities:
    """Vectors (N, H) less their mean, each of length 1: those of encoders lie in a narrow cone otherwise."""
    moved = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(lengths, 1e-9), np.float32)


class Coverage:
    """How well the notes that were taken stand for a collection, as its mean similarity to the nearest of them.

    `vectors` (N, D) are rows of length 1, sparse or not; similarity is their product, at least 0. `places` are the
    notes of the collection, of which 2,000 drawn by `seed` are its ground (fewer where there are over 30,000 notes).
    """

    def __init__(self, vectors: Any, places: Sequence[int], seed: int) -> None:
        count = vectors.shape[0]
        size = min(len(places), max(min(GROUND, CELLS // max(count, 1)), 200))
        drawn = np.random.default_rng(seed).permutation(len(places))[:size]
        self.ground = np.sort(np.asarray(places, np.int64)[drawn])
        columns = vectors[self.ground].T
        self.similar = np.zeros((count, len(self.ground)), np.float32)
        for first in range(0, count, 1_000):
            some = vectors[first : first + 1_000] @ columns
            self.similar[first : first + 1_000] = some if isinstance(some, np.ndarray) else some.toarray()
        np.maximum(self.similar, 0, out=self.similar)
        self.nearest = np.zeros(len(self.ground), np.float32)
        self._bounds: list[tuple[float, int]] = []

    @property
    def value(self) -> float:
        """The coverage by all that was taken, 0 to 1."""
        return float(self.nearest.mean(dtype=np.float64))

    def take(self, places: Iterable[int]) -> None:
        """Count these notes as taken."""
        for place in places:
            np.maximum(self.nearest, self.similar[place], out=self.nearest)

    def gain(self, place: int) -> float:
        """What taking one more note would add to the coverage."""
        return float(np.maximum(self.similar[place] - self.nearest, 0).mean(dtype=np.float64))

    def offer(self, places: Iterable[int]) -> None:
        """Name the notes that `best` may give."""
        self._bounds = [(-self.gain(place), place) for place in places]
        heapq.heapify(self._bounds)

    def best(self, open_to: npt.NDArray[np.bool_]) -> int | None:
        """The offered note (N,) still open that adds most, the first of those alike; None if none is left.

        Greedy facility location reaches 1 - 1/e of the best coverage (Nemhauser et al. 1978). A gain only shrinks, so
        that an old one is a bound and few are measured anew (Minoux 1978). Once closed, a note must stay closed.
        """
        while self._bounds:
            _, place = heapq.heappop(self._bounds)
            if not open_to[place]:
                continue
            now = (-self.gain(place), place)
            if not self._bounds or now <= self._bounds[0]:
                return place
            heapq.heappush(self._bounds, now)
        return None

    def by_chance(self, places: Sequence[int], count: int, taken: Sequence[int], seed: int) -> float:
        """The mean coverage by `taken` and `count` others that are drawn of `places`, over 20 draws."""
        random = np.random.default_rng(seed + 1)
        held, begin = np.asarray(places, np.int64), np.zeros(len(self.ground), np.float32)
        for place in taken:
            np.maximum(begin, self.similar[place], out=begin)
        values = [
            np.maximum(self.similar[random.permutation(held)[:count]].max(axis=0), begin).mean(dtype=np.float64)
            for _ in range(20)
        ]
        return float(np.mean(values))
