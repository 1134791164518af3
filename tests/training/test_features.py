"""Layer means of a frozen encoder: the right vector beside the right gold, in any order and batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document, Span
from clinnlp.models.load import Base
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from clinnlp.training import features as module
from clinnlp.training.features import features, tags_tokens

NOTES = [
    Document("1", "started on aspirin for fever", (Span(11, 18, "DRUG"), Span(23, 28, "PROBLEM")), ("plan",)),
    Document("2", "patient presents with cough " * 6, (Span(22, 27, "PROBLEM"),), ("visit",)),
    Document("3", "no known allergies", (), ("plan",)),
]


def test_vectors_of_tokens(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base, task = Base(str(tiny("bert"))), Ner(window=24, overlap=8)
    tokenizer, schema = base.tokenizer(), task.schema(NOTES)
    model, _ = base.model(task.model_class, task.head_config(schema))
    examples, _ = task.examples(NOTES, tokenizer, schema)
    assert tags_tokens(examples)
    found = features(model, task, examples, len(schema.tags), tokenizer.pad_id or 0, 1)
    tags = np.concatenate([example.targets[example.targets != -100] for example in examples])
    assert found.gold.argmax(axis=1).tolist() == tags.tolist() and (found.gold.sum(axis=1) == 1).all()
    assert found.tokens == sum(len(example) for example in examples) and found.tokens_per_second > 0
    with torch.inference_mode():
        ids = torch.from_numpy(examples[0].rows[0].ids.astype(np.int64))[None]
        states = model.base_model(input_ids=ids, output_hidden_states=True).hidden_states
    alone = torch.stack(states).mean(0)[0].numpy()[examples[0].targets != -100]
    assert len(states) == 3, "embeddings and two layers"
    assert np.allclose(found.vectors[: len(alone)], alone, atol=1e-5)
    monkeypatch.setattr(module, "BATCH_TOKENS", 1)
    by_one = features(model, task, examples, len(schema.tags), tokenizer.pad_id or 0, 1)
    assert np.allclose(by_one.vectors, found.vectors, atol=1e-5)
    monkeypatch.setattr(module, "PER_CLASS", 2)
    few = features(model, task, examples, len(schema.tags), tokenizer.pad_id or 0, 1)
    assert few.gold.sum(axis=0).max() == 2
    assert all(any(np.allclose(one, other, atol=1e-5) for other in found.vectors) for one in few.vectors)


def test_vectors_of_notes(tiny: Callable[[str], Path]) -> None:
    base, task = Base(str(tiny("roberta"))), NoteClassification(window=16, overlap=4).resolve(NOTES)
    tokenizer, schema = base.tokenizer(), task.schema(NOTES)
    model, _ = base.model(task.model_class, task.head_config(schema))
    examples, _ = task.examples(NOTES, tokenizer, schema)
    assert not tags_tokens(examples) and len(examples[1].rows) > 1
    found = features(model, task, examples, 2, tokenizer.pad_id or 0, 1)
    assert found.vectors.shape == (3, 32) and not found.of_tokens
    assert found.gold.tolist() == [[True, False], [False, True], [True, False]]
    one = features(model, task, examples[2:], 2, tokenizer.pad_id or 0, 1)
    assert np.allclose(found.vectors[2], one.vectors[0], atol=1e-5)
