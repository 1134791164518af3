"""Documents in, documents with labels out: whole notes, windows of like length together, answers joined."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.encode.tokens import Tokens
from clinnlp.engines.base import plain_runner
from clinnlp.errors import IntegrityError
from clinnlp.models.load import Trained
from clinnlp.tasks.base import Row

T = TypeVar("T")

CHUNK = 512  # documents tokenized and sorted together
BATCH_TOKENS = 4096  # tokens per forward pass
NO_TOKENS = "clinnlp: no tokens"  # in the meta of a document of which the tokenizer kept nothing


def predict(
    trained: Trained, documents: Iterable[Document], batch_tokens: int = BATCH_TOKENS, chunk: int = CHUNK
) -> Iterator[Document]:
    """What the model says of each document, in the given order, one chunk at a time.

    Equal texts of a chunk (notes that were copied forward) are read once. Rows are sorted by length and cut
    into batches of at most `batch_tokens` tokens.
    """
    for part in chunks(documents, chunk):
        yield from predict_chunk(trained, part, batch_tokens)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order."""
    source = iter(items)
    while part := list(islice(source, size)):
        yield part


def predict_chunk(trained: Trained, documents: Sequence[Document], batch_tokens: int) -> list[Document]:
    """What the model says of the documents of one chunk."""
    reading = Reading.of(trained, documents)
    run = trained.runner or plain_runner(trained)
    return reading.decode(trained, run(reading.ids, batch_tokens))


@dataclass(frozen=True)
class Reading:
    """Documents as a model reads them: `tokens` of each text that differs, `same` which of these each document has.

    `rows` are the windows of all texts in order, each with the number of its text.
    """

    documents: Sequence[Document]
    tokens: list[Tokens]
    same: list[int]
    rows: list[tuple[int, Row]]

    @classmethod
    def of(cls, trained: Trained, documents: Sequence[Document]) -> "Reading":
        """Tokenize the documents and cut them into windows."""
        keys = [(document.text, trained.task.cuts_by(document)) for document in documents]
        distinct = dict(zip(keys, documents, strict=True))
        places = {key: place for place, key in enumerate(distinct)}
        tokens = trained.tokenizer.encode_many([text for text, _ in distinct])
        cut = [trained.task.cut(d, t, trained.tokenizer) for d, t in zip(distinct.values(), tokens, strict=True)]
        rows = [(place, row) for place, note in enumerate(cut) for row in note]
        return cls(documents, tokens, [places[key] for key in keys], rows)

    @property
    def ids(self) -> list[NDArray[np.int32]]:
        """What the model is given: one array of ids for each row."""
        return [row.ids for _, row in self.rows]

    def answered(self, logits: Sequence[Any]) -> tuple[list[Tokens], list[list[tuple[Row, Any]]]]:
        """The tokens of each document, and its rows with their logits.

        Raises IntegrityError if a token was not answered.
        """
        answers: list[list[tuple[Row, Any]]] = [[] for _ in self.tokens]
        for (place, row), answer in zip(self.rows, logits, strict=True):
            answers[place].append((row, answer))
        for note, answered in zip(self.tokens, answers, strict=True):
            if len(note) != sum(row.window.own_last - row.window.own_first for row, _ in answered):
                raise IntegrityError("a window of a note was not answered")
        return [self.tokens[place] for place in self.same], [answers[place] for place in self.same]

    def decode(self, trained: Trained, logits: Sequence[Any]) -> list[Document]:
        """The documents with what the logits of the rows say. Raises IntegrityError if a token was not answered."""
        task = trained.task.ready(trained.model)
        found = task.decode(self.documents, *self.answered(logits), trained.schema)
        return [
            document if len(self.tokens[place]) else replace(document, meta={**document.meta, NO_TOKENS: True})
            for place, document in zip(self.same, found, strict=True)
        ]
