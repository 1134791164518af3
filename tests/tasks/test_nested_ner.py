"""Entities of any shape: what is trained, the threshold, and what is out of reach."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.pairs import pair_scores
from clinnlp.encode.tokens import NoteTokenizer, units
from clinnlp.errors import ConfigError
from clinnlp.models.load import Base
from clinnlp.tasks.nested_ner import CANDIDATES, FLOOR, NestedNer

Tiny = Callable[[str], Path]
SCHEMA = LabelSchema(("A", "B"))
TEXT = "fever and cough with chest pain, denies nausea; on hydrochlorothiazide for hypertension"
NOTE = Document("1", TEXT, (Span(0, 15, "A"), Span(10, 31, "B"), Span(21, 31, "A"), Span(21, 31, "B")))


def test_the_loss_is_that_of_every_pair_of_words_once(tiny: Tiny) -> None:
    """Pair by pair, in plain loops: the window that owns the middle token of a pair answers for it."""
    task = NestedNer(window=16, overlap=8, longest=3, size=4)
    tokenizer = NoteTokenizer.load(tiny("bert"))
    torch.manual_seed(0)
    model: Any = Base(str(tiny("bert"))).model(task.model_class, task.head_config(SCHEMA))[0].eval()
    model.classifier.weight.data *= 50
    examples, ledger = task.examples([NOTE], tokenizer, SCHEMA)
    assert len(examples) > 1 and dict(ledger.counts) == {("A", "exact"): 2, ("B", "exact"): 1, ("B", "too long"): 1}
    words = np.flatnonzero(units(TEXT, tokenizer.encode(TEXT))).tolist()
    gold = {(0, 2, 0), (4, 5, 0), (4, 5, 1)}
    wanted, pairs = 0.0, 0
    for example in examples:
        row = example.rows[0]
        window = row.window
        inside = [number for number, place in enumerate(words) if window.first <= place < window.last]
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits
            vectors = logits[:, [words[number] - window.first + row.before for number in inside]]
            scores = pair_scores(vectors, 4, 3)[0]
        for first in inside:
            for last in range(first, min(first + 3, inside[-1] + 1)):
                if window.own_first <= (words[first] + words[last]) // 2 < window.own_last:
                    pairs += 1
                    for label in range(2):
                        score = float(scores[first - inside[0], last - first, label])
                        wanted += float(np.logaddexp(0, score)) - score * ((first, last, label) in gold)
    assert pairs == 3 * len(words) - 3, "every pair within reach, once"
    with torch.no_grad():
        batch = task.collate(examples, 0)
        assert int((batch["labels"] != -100).sum()) == len(words)
        assert float(task.loss(model, batch, 1)) == pytest.approx(wanted, rel=1e-4)


def said(*spans: tuple[str, float], under: tuple[tuple[str, float], ...] = ()) -> Document:
    """A document with spans of one letter, scored, and with candidates under the threshold."""
    made = [(TEXT.index(letter), TEXT.index(letter) + 1, "A", score) for letter, score in spans]
    left = [(TEXT.index(letter), TEXT.index(letter) + 1, "A", score) for letter, score in under]
    return Document("1", TEXT, tuple(Span(*one) for one in made), meta={CANDIDATES: left})


def test_the_threshold_is_the_best_on_dev_and_those_above_it_are_calibrated() -> None:
    """By hand: f and v are right. From 0.9 on F1 is 2/3, from 0.3 on 4/5, from 0.2 on 4/6."""
    gold = [Document("1", TEXT, (Span(0, 1, "A"), Span(2, 3, "A")))]
    predicted = [said(("f", 0.9), ("h", 0.6), under=(("v", 0.3), ("n", 0.2)))]
    tuned = NestedNer().tune(gold, predicted)
    assert tuned.threshold == pytest.approx(0.25)
    assert "3 " in tuned.calibration.reason, "three spans are over it"
    assert NestedNer(threshold=0.4).tune(gold, predicted).threshold == 0.4, "one that was given stays"
    none_right = [Document("1", TEXT, (Span(3, 4, "A"),))]
    assert NestedNer().tune(none_right, predicted).threshold == 0.5


def test_candidates_are_kept_until_there_is_a_threshold(tiny: Tiny) -> None:
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    note = Document("1", "fever cough")
    tokens = tokenizer.encode(note.text)
    for threshold, spans, kept in ((None, 1, 1), (0.5, 1, 0), (0.1, 2, 0)):
        task = NestedNer(size=2, longest=1, threshold=threshold)
        (row,) = task.cut(note, tokens, tokenizer)
        logits = np.zeros((len(row.ids), 8), np.float32)
        place = row.before + np.flatnonzero(units(note.text, tokens))
        logits[place, 4] = 6 + np.log([3.0, 0.25])  # label A: probabilities 0.75 and 0.2, B is under the floor
        (found,) = task.decode([note], [tokens], [[(row, logits)]], SCHEMA)
        assert [round(s.score or 0, 3) for s in found.spans] == [0.75, 0.2][:spans]
        assert len(found.meta.get(CANDIDATES, ())) == kept
    assert 1 / (1 + np.exp(6)) < FLOOR


def test_perfect_holds_all_but_long_and_broken_spans(tiny: Tiny) -> None:
    broken = Span(0, 31, "A", fragments=((0, 5), (21, 31)))
    note = Document("1", TEXT, (*NOTE.spans, broken, Span(0, 5, "UNKNOWN")))
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    (found,) = NestedNer(longest=3).perfect([note], tokenizer, SCHEMA)
    assert [s.key for s in found.spans] == [s.key for s in (NOTE.spans[0], NOTE.spans[2], NOTE.spans[3])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longest": 0}, r"task\.longest: must be 1 or more"),
        ({"size": 5}, r"task\.size: must be an even number of 2 or more"),
        ({"threshold": 1.5}, r"task\.threshold: is not from 0 to 1"),
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NestedNer(**options)
