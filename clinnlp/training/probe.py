"""What a frozen encoder knows of a labeled set: a linear classifier on its vectors, by cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.encode.marks import ENTITY, FRAME, INSIDE
from clinnlp.encode.packing import PackedBlocks, Rows, TokenStore, attention
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import DataError
from clinnlp.objectives.supervised import Supervised

FOLDS = 5
LEAST = 10  # examples of a class
MOST = 5_000  # examples
NOTHING = 0  # the class of stretches without an entity

Examples = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]  # vectors, classes, notes


@dataclass(frozen=True)
class Probe:
    """Labeled notes as rows; `classes` are the types of their entities, else the labels of the notes.

    Entities, and as many stretches of like length without one, are told apart by the mean of their token vectors; notes
    by the mean of theirs, over the rows that they are cut into.
    """

    blocks: PackedBlocks
    classes: tuple[str, ...]
    of_spans: bool

    @classmethod
    def of(cls, notes: Sequence[Document], tokenizer: NoteTokenizer, size: int) -> "Probe":
        """Raises DataError if there is nothing to tell apart."""
        of_spans = any(note.spans for note in notes)
        if of_spans:
            objective = Supervised().on(notes)
            names = tuple(sorted({span.label for note in notes for span in note.spans}))
            store = TokenStore.of(tokenizer, map(objective.mark, notes))
        else:
            names = tuple(sorted({note.labels[0] for note in notes if note.labels}))
            store = TokenStore.of(tokenizer, map(Supervised().mark, notes))
            numbers = [names.index(note.labels[0]) if note.labels else -1 for note in notes]
            store = TokenStore(store.ids, store.marks, store.kinds, np.array(numbers), store.bounds)
        if len(names) + of_spans < 2:
            raise DataError("the labeled notes have nothing to tell apart", next="give notes with spans or labels")
        return cls(PackedBlocks(store, tokenizer, size, pack=False), names, of_spans)

    @property
    def what(self) -> str:
        """What the score is of."""
        return f"macro F1 of {'entity types' if self.of_spans else 'note labels'} from frozen features"

    def score(self, model: torch.nn.Module, batch: int) -> tuple[float, int]:
        """Macro F1 over the classes with ten examples or more, each note judged by the others, and the examples.

        Raises DataError if fewer than two classes have so many, or all are of one note.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import f1_score
        from sklearn.model_selection import GroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        vectors, classes, notes = self._examples(model, batch)
        kept = np.isin(classes, np.flatnonzero(np.bincount(classes, minlength=1) >= LEAST))
        vectors, classes, notes = vectors[kept][:MOST], classes[kept][:MOST], notes[kept][:MOST]
        folds = min(FOLDS, len(set(notes.tolist())))
        if folds < 2 or len(set(classes.tolist())) < 2:
            raise DataError(
                f"too few labeled notes: two classes of {LEAST} examples or more, in two notes or more, are needed",
                next="give more, or leave probe.notes out",
            )
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        said = cross_val_predict(linear, vectors, classes, groups=notes, cv=GroupKFold(folds))
        return float(f1_score(classes, said, average="macro")), len(classes)

    @torch.inference_mode()
    def _examples(self, model: torch.nn.Module, batch: int) -> Examples:
        model.eval()
        device = next(model.parameters()).device
        found: list[tuple[NDArray[np.float32], int, int]] = []
        for first in range(0, len(self.blocks), batch):
            rows = self.blocks.take(range(first, min(first + batch, len(self.blocks))))
            ids, pieces, positions = (torch.from_numpy(a).to(device) for a in (rows.ids, rows.pieces, rows.positions))
            given = attention(model, pieces, positions, packed=False)
            inner: Any = model
            vectors = inner.base_model(input_ids=ids, **given).last_hidden_state.float().cpu().numpy()
            found += self._spans(rows, vectors, first) if self.of_spans else self._notes(rows, vectors)
        if not found:
            return np.zeros((0, 1), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        stacked, classes, notes = zip(*found, strict=True)
        joined = (np.stack(stacked), np.array(classes), np.array(notes))
        return joined if self.of_spans else _joined(*joined)

    def _spans(
        self, rows: Rows, vectors: NDArray[np.float32], first: int
    ) -> list[tuple[NDArray[np.float32], int, int]]:
        """Each entity of the rows, and for each a stretch of the same length that touches none, if there is one."""
        found: list[tuple[NDArray[np.float32], int, int]] = []
        for row in range(len(rows.ids)):
            random = np.random.default_rng(first + row)
            marks, note = rows.marks[row], int(rows.notes[row])
            taken = (marks & (ENTITY | INSIDE | FRAME)) != 0
            for start in np.flatnonzero(marks & ENTITY).tolist():
                end = start + 1 + int(np.argmin(np.append(marks[start + 1 :] & INSIDE, 0) != 0))
                found.append((vectors[row, start:end].mean(0), int(rows.kinds[row, start]), note))
                free = np.flatnonzero(np.convolve(taken, np.ones(end - start), "valid") == 0)
                if len(free):
                    place = int(random.choice(free))
                    found.append((vectors[row, place : place + end - start].mean(0), NOTHING, note))
        return found

    def _notes(self, rows: Rows, vectors: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], int, int]]:
        inside = (rows.marks & FRAME) == 0
        return [
            (vectors[row, inside[row]].mean(0), int(rows.targets[row]), int(rows.notes[row]))
            for row in range(len(rows.ids))
            if rows.targets[row] >= 0 and inside[row].any()
        ]


def _joined(vectors: NDArray[np.float32], classes: NDArray[np.int64], notes: NDArray[np.int64]) -> Examples:
    """The rows of each note as one: the mean of their vectors."""
    which, first, inverse, counts = np.unique(notes, return_index=True, return_inverse=True, return_counts=True)
    sums = np.zeros((len(which), vectors.shape[1]), np.float32)
    np.add.at(sums, inverse, vectors)
    return (sums / counts[:, None]).astype(np.float32), classes[first], which
