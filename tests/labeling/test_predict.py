"""Prediction: order kept, copies read once, batches within their budget, every window answered."""

import base64
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.engines.base import plain_runner
from clinnlp.labeling.predict import chunks, predict
from clinnlp.labeling.shard import status_of
from clinnlp.models.folder import Card
from clinnlp.models.load import Base, Trained
from clinnlp.tasks.ner import Ner
from tests.tiny import sentences

Tiny = Callable[[str], Path]


def random_model(tiny: Tiny, kind: str = "bert") -> Trained:
    """A model with a head of large random weights: it finds spans everywhere."""
    schema, task = LabelSchema(("A", "B")), Ner(window=24, overlap=6)
    torch.manual_seed(0)
    model, _ = Base(str(tiny(kind))).model(task.model_class, task.head_config(schema))
    with torch.no_grad():
        model.classifier.weight.mul_(200)
    return Trained(model.eval(), NoteTokenizer.load(tiny(kind)), task, schema, Card(task, schema, "x", ""))


def notes() -> list[Document]:
    texts = [*sentences(6), "", "fever", " ".join(sentences(5)), " \n", *sentences(2)]
    return [Document(str(n), text) for n, text in enumerate(texts)]


def test_chunks_by_hand() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("batch_tokens", "chunk"), [(32, 3), (10_000, 100), (1, 1)])
def test_what_is_said_does_not_depend_on_batches(batch_tokens: int, chunk: int, tiny: Tiny) -> None:
    trained = random_model(tiny)
    wanted = [next(predict(trained, [note])) for note in notes()]
    assert sum(len(d.spans) for d in wanted) > 20
    found = list(predict(trained, notes(), batch_tokens, chunk))
    assert [(d.id, d.text, [s.key for s in d.spans]) for d in found] == [
        (d.id, d.text, [s.key for s in d.spans]) for d in wanted
    ]


def test_what_a_document_brought_is_replaced(tiny: Tiny) -> None:
    note = Document("1", "fever", labels=("old",), group="p", meta={"kept": 1})
    (found,) = predict(random_model(tiny), [note])
    assert (found.labels, found.group, found.meta) == ((), "p", {"kept": 1})


def test_copies_are_read_once(tiny: Tiny) -> None:
    trained, counted = random_model(tiny), []
    real = plain_runner(trained)
    trained.runner = lambda rows, budget: counted.append(len(rows)) or real(rows, budget)
    text = sentences(1)[0]
    found = list(predict(trained, [Document(str(n), text) for n in range(5)]))
    assert counted == [1]
    assert [d.id for d in found] == list("01234")
    assert all([s.key for s in d.spans] == [s.key for s in found[0].spans] for d in found)


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta_v2"])
def test_a_word_of_a_hundred_thousand_characters_takes_linear_time(kind: str, tiny: Tiny) -> None:
    """All but the model itself: tokens, units, windows, tags, status."""
    trained = random_model(tiny, kind)
    tags = len(trained.schema.tags)
    trained = replace(trained, runner=lambda rows, budget: [np.zeros((len(row), tags), np.float32) for row in rows])
    word = base64.b64encode(random.Random(0).randbytes(1_200_000)).decode()

    def seconds(length: int) -> float:
        start = time.process_time()  # of this process alone: the machine may be busy
        (found,) = predict(trained, [Document("1", word[:length])])
        assert status_of(found) == "labeled"
        return time.process_time() - start

    seconds(1000)
    once = min(seconds(100_000) for _ in range(2))
    assert seconds(1_600_000) < 80 * once, "16 times as much text; a square would take 256 times as long"
