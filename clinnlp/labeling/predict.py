"""Documents in, documents with labels out: whole notes, windows of like length together, answers joined."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from clinnlp.core.document import Document
from clinnlp.engines.torch import Torch
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
    distinct = {document.text: number for number, document in enumerate(documents)}
    places = {number: place for place, number in enumerate(distinct.values())}
    tokens = trained.tokenizer.encode_many(list(distinct))
    rows: list[tuple[int, Row]] = []
    for place, number in enumerate(distinct.values()):
        rows += [(place, row) for row in trained.task.cut(documents[number], tokens[place], trained.tokenizer)]
    run = trained.runner or Torch().runner(trained)
    logits = run([row.ids for _, row in rows], batch_tokens)
    answers: list[list[tuple[Row, Any]]] = [[] for _ in distinct]
    for (place, row), answer in zip(rows, logits, strict=True):
        answers[place].append((row, answer))
    for note, answered in zip(tokens, answers, strict=True):
        if len(note) != sum(row.window.own_last - row.window.own_first for row, _ in answered):
            raise IntegrityError("a window of a note was not answered")
    same = [places[distinct[document.text]] for document in documents]
    found = trained.task.decode(
        documents, [tokens[place] for place in same], [answers[place] for place in same], trained.schema
    )
    return [
        document if len(tokens[place]) else replace(document, meta={**document.meta, NO_TOKENS: True})
        for place, document in zip(same, found, strict=True)
    ]
