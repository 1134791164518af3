"""Sentences in context and alone: what is read, what is trained, and where sentences come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.labeling.predict import predict
from clinnlp.labeling.together import Member, alike
from clinnlp.models.folder import Card
from clinnlp.models.load import Base, Trained
from clinnlp.tasks.sentence_classification import SentenceClassification
from clinnlp.text.sentences import sentences

Tiny = Callable[[str], Path]
SCHEMA = LabelSchema(("A", "B"))
TEXT = "Patient presents with fever. Denies nausea and chest pain. Started on metformin. No allergies."
NOTE = Document("1", TEXT, tuple(Span(a, b, "AB"[n % 2]) for n, (a, b) in enumerate(sentences(TEXT))))


def loaded(tiny: Tiny, **options: Any) -> Trained:
    task = SentenceClassification(window=24, overlap=12, **options)
    torch.manual_seed(0)
    model, _ = Base(str(tiny("bert"))).model(task.model_class, task.head_config(SCHEMA))
    return Trained(model.eval(), NoteTokenizer.load(tiny("bert")), task, SCHEMA, Card(task, SCHEMA, "x", ""))


@pytest.mark.parametrize("context", [True, False])
def test_the_loss_is_that_of_the_mean_over_the_tokens_of_each_sentence(context: bool, tiny: Tiny) -> None:
    trained = loaded(tiny, context=context)
    task: Any = trained.task
    examples, ledger = task.examples([NOTE], trained.tokenizer, SCHEMA)
    assert (ledger.exact, ledger.total) == (4, 4) and sum(len(one.targets) for one in examples) == 4
    tokens = trained.tokenizer.encode(TEXT)
    model: Any = trained.model
    wanted = 0.0
    for number, span in enumerate(NOTE.spans):
        inside = np.flatnonzero((tokens.offsets[:, 0] >= span.start) & (tokens.offsets[:, 0] < span.end))
        middle = (inside[0] + inside[-1]) // 2
        rows = task.cut(NOTE, tokens, trained.tokenizer)
        (row,) = (r for r in rows if r.window.own_first <= middle < r.window.own_last)
        first, last = row.window.first, row.window.last
        if not context:
            assert (first, last) == (inside[0], inside[-1] + 1)
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0]
        seen = [place - first + row.before for place in inside if first <= place < last]
        wanted -= float(log_softmax(logits[seen].mean(dim=0), dim=0)[number % 2])
    with torch.no_grad():
        assert float(task.loss(model, task.collate(examples, 0), 1)) == pytest.approx(wanted, rel=1e-4)


def test_sentences_are_those_given_or_found_by_rules(tiny: Tiny) -> None:
    trained = loaded(tiny)
    given = [Span(0, 21, "SENTENCE"), Span(22, 58, "SENTENCE")]
    other = Span(22, 27, "PROBLEM")  # of another task, no sentence
    notes = [replace(NOTE, id=str(n), spans=tuple(spans)) for n, spans in enumerate(([], given, [other], NOTE.spans))]
    found = [[(s.start, s.end) for s in document.spans] for document in predict(trained, notes)]
    assert found[0] == found[2] == found[3] == sentences(TEXT)
    assert found[1] == [(0, 21), (22, 58)]
    assert all(s.label in "AB" and 0.5 <= (s.score or 0) <= 1 for d in predict(trained, notes) for s in d.spans)


def test_equal_texts_with_other_sentences_are_read_apart(tiny: Tiny) -> None:
    trained = loaded(tiny, context=False)
    whole = replace(NOTE, id="2", spans=(Span(0, len(TEXT), "A"),))
    alone = [places(next(predict(trained, [note]))) for note in (NOTE, whole)]
    assert [places(document) for document in predict(trained, [NOTE, whole])] == alone


def places(document: Document) -> list[tuple[int, int, str]]:
    """The spans without their scores, which are rounded in another way in another batch."""
    return [(span.start, span.end, span.label) for span in document.spans]


def test_models_that_cut_notes_otherwise_are_not_run_together(tiny: Tiny) -> None:
    models = [loaded(tiny, context=context) for context in (True, False, True)]
    engine: Any = "torch"
    members = [Member(str(n), model, engine, lambda rows, budget: [], None) for n, model in enumerate(models)]
    assert alike(members) == [[0, 2], [1]]


def test_a_sentence_without_tokens_is_counted(tiny: Tiny) -> None:
    trained = loaded(tiny)
    note = Document("1", "fever \u200b ok", (Span(0, 5, "A"), Span(6, 7, "B")))
    tokens = trained.tokenizer.encode(note.text)
    assert 6 not in tokens.offsets[:, 0], "the tokenizer keeps nothing of a blank of no width"
    _, ledger = trained.task.examples([note], trained.tokenizer, SCHEMA)
    assert dict(ledger.counts) == {("A", "exact"): 1, ("B", "untokenizable"): 1}
    (found,) = predict(trained, [note])
    assert [(s.start, s.end) for s in found.spans] == [(0, 5)]
