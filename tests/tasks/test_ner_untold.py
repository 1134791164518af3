"""Words of which nothing is known are no targets of entity extraction, whatever is trained and however it is cut."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.models.load import Base
from clinnlp.tasks.ner import Ner

TEXT = "fever and cough with chest pain, denies nausea; on hydrochlorothiazide for hypertension"
NOTE = Document("1", TEXT, (Span(0, 5, "A"), Span(21, 31, "A"), Span(51, 70, "A")))
SCHEMA = LabelSchema(("A",))
TASKS = [
    Ner(window=16, overlap=4),
    Ner(window=16, overlap=4, trained_tokens="all"),
    Ner(window=16, overlap=4, crf=True),
]


@pytest.mark.parametrize("task", TASKS, ids=["first", "all", "crf"])
def test_untold_words_change_no_loss(task: Ner, tiny: Callable[[str], Path]) -> None:
    """A wrong span in an untold stretch, or none: the same loss to the bit, and other than with the wrong span told."""
    tokenizer = NoteTokenizer.load(tiny("bert"))
    torch.manual_seed(0)
    model = Base(str(tiny("bert"))).model(task.model_class, task.head_config(SCHEMA))[0].eval()
    wrong = replace(NOTE, spans=(*NOTE.spans[:2], Span(40, 46, "A"), NOTE.spans[2]))

    def loss(note: Document) -> float:
        batch = task.collate(task.examples([note], tokenizer, SCHEMA)[0], 0)
        items = (batch["labels"] != -100).sum()
        with torch.no_grad():
            return float(task.loss(model, batch, items))

    untold = {"untold": [[33, 46]]}
    assert loss(replace(wrong, meta=untold)) == loss(replace(NOTE, meta=untold))
    assert loss(wrong) != loss(NOTE)
    everything = replace(NOTE, meta={"untold": [[0, len(TEXT)]]})
    assert task.examples([everything], tokenizer, SCHEMA)[0] == []
