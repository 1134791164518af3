"""Silver notes by hand: what is kept, what is masked, and what the rule is worth on dev."""

import numpy as np
import pytest

from clinnlp.core.document import Document, Span
from clinnlp.encode.tags import UNTOLD
from clinnlp.encode.tokens import Tokens
from clinnlp.evaluation.calibration import Calibration
from clinnlp.recipes._reading import Said
from clinnlp.recipes._silver import SILVER, Sure, counted, on_dev
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification

TEXT = "fever and cough or rash today"
WORDS = [(0, 5), (6, 9), (10, 15), (16, 18), (19, 23), (24, 29)]


def said(scores: list[float], chances: list[float]) -> Said:
    """fever, cough and rash are found with these scores; of the other words the chance of being nothing is given."""
    spans = [Span(*WORDS[n], "P", score) for n, score in zip((0, 2, 4), scores, strict=True)]
    tags = np.array([1, 0, 1, 0, 1, 0])
    logits = np.zeros((6, 3))
    logits[:, 1] = 1
    tokens = Tokens(np.arange(6, dtype=np.int32), np.array(WORDS))
    return Said(Document("1", TEXT, tuple(spans), meta={"secret": 1}), tokens, np.ones(6, bool), logits, tags, chances)


def test_sure_spans_are_kept_and_doubted_words_are_masked() -> None:
    """fever is sure and cough is not, rash hardly is; `or` is nothing at 0.95, `today` at 0.8, which is masked."""
    note = Sure(0.9, 0.1).of_units(said([0.95, 0.5, 0.05], [1, 1, 1, 0.95, 1, 0.8]), Ner(), ["P"])
    assert [(span.start, span.end, span.label) for span in note.spans] == [(0, 5, "P")]
    assert note.meta == {UNTOLD: [[10, 15], [19, 23], [24, 29]], SILVER: {"kept": True, "best": 0.95, "found": 3}}
    nothing = Sure(0.9, 0.1).of_units(said([0.8, 0.5, 0.05], [1] * 6), Ner(), ["P"])
    assert not nothing.meta[SILVER]["kept"]
    assert nothing.spans == ()


def test_doubt_of_words_outside_is_calibrated_too() -> None:
    """Log-odds of 0.2 are -1.39; twice as sure (temperature 0.5) they are those of 0.06, which is under 0.1."""
    given = said([0.95, 0.95, 0.95], [1, 1, 1, 1, 1, 0.8])
    assert Sure(0.9, 0.1).of_units(given, Ner(), ["P"]).meta[UNTOLD] == [[24, 29]]
    assert Sure(0.9, 0.1).of_units(given, Ner(calibration=Calibration(0.5)), ["P"]).meta[UNTOLD] == []


@pytest.mark.parametrize(
    ("multi_label", "scores", "labels", "kept"),
    [
        (False, {"a": 0.92, "b": 0.08}, ("a",), True),
        (False, {"a": 0.6, "b": 0.4}, (), False),
        (True, {"a": 0.92, "b": 0.05}, ("a",), True),
        (True, {"a": 0.92, "b": 0.4}, (), False),
        (True, {"a": 0.02, "b": 0.05}, (), True),
        (True, {}, (), False),
    ],
)
def test_note_labels(multi_label: bool, scores: dict[str, float], labels: tuple[str, ...], kept: bool) -> None:
    chosen = tuple(label for label, score in scores.items() if score >= 0.5)
    note = Document("1", TEXT, labels=chosen, meta={"label_scores": scores})
    made = Sure(0.9, 0.1).of_note(Said(note), NoteClassification(multi_label=multi_label))
    assert (made.labels, made.meta[SILVER]["kept"]) == (labels, kept)


def silver(spans: list[Span], untold: list[list[int]], kept: bool = True) -> Document:
    told = {"kept": kept, "best": 0.95, "found": len(spans)}
    return Document("1", TEXT, tuple(spans), meta={UNTOLD: untold, SILVER: told})


def test_the_rule_on_dev_by_hand() -> None:
    """Kept: fever (right), `and` (wrong). Gold: fever held, cough masked, rash denied. The other note is not kept."""
    gold = Document("1", TEXT, tuple(Span(*WORDS[n], "P") for n in (0, 2, 4)))
    made = silver([Span(0, 5, "P"), Span(6, 9, "P")], [[10, 12]])
    found = on_dev([gold, gold], [made, silver([], [], kept=False)], by_spans=True)
    assert set(found) == {"P", "all"}
    counts = {name: found["P"][name] for name in ("kept", "right", "held", "masked", "denied")}
    assert counts == {"kept": 2, "right": 1, "held": 1, "masked": 1, "denied": 1}
    assert found["P"]["precision"] == 0.5
    assert found["P"]["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    labels = on_dev([Document("1", TEXT, labels=("b",))], [Document("1", TEXT, labels=("a",), meta=made.meta)], False)
    assert (labels["a"]["precision"], labels["b"]["denied"], labels["b"]["precision"]) == (0, 1, None)


def test_counts_by_hand() -> None:
    read = [silver([Span(0, 5, "P"), Span(6, 9, "Q")], [[10, 15]]), silver([], [], kept=False)]
    assert counted(read) == {
        "read": 2, "kept": 1, "found": 2, "spans": {"P": 1, "Q": 1}, "labels": {},
        "masked": {"stretches": 1, "characters": 5, "of": len(TEXT)}, "best": 0.95,
    }  # fmt: skip
