"""Thresholds, class weights and batches of note classification."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp import config
from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.errors import ConfigError, DataError
from clinnlp.models.folder import Card
from clinnlp.tasks.base import Row
from clinnlp.tasks.note_classification import NoteClassification
from tests.tiny import TOKENIZER_OF

Tiny = Callable[[str], Path]


def note(number: int, *labels: str, text: str = "fever") -> Document:
    return Document(str(number), text, labels=labels)


def scored(gold: Sequence[Document], *scores: dict[str, float]) -> list[Document]:
    """What a model said of the gold documents, with these label scores."""
    pairs = zip(gold, scores, strict=True)
    return [Document(d.id, d.text, meta={"label_scores": given}) for d, given in pairs]


def twenty() -> tuple[list[Document], list[Document]]:
    """Dev notes: A, which 20 of 50 have, at 0.4 against 0.2; B, which 4 have, at 0.9 against 0.7."""
    gold = [note(i, *("A" * (i < 20)), *("B" * (i < 4))) for i in range(50)]
    said = scored(gold, *({"A": 0.4 if i < 20 else 0.2, "B": 0.9 if i < 4 else 0.7} for i in range(50)))
    return gold, said


# --- thresholds


def test_a_label_of_twenty_dev_notes_gets_a_threshold_of_its_own() -> None:
    gold, said = twenty()
    tuned = NoteClassification(multi_label=True, thresholds="per_label").tune(gold, said)
    low, high = tuned.calibration.apply(np.array([0.2, 0.4]), ["A", "A"])
    assert tuned.label_thresholds == {"A": pytest.approx((low + high) / 2)}
    fewer = NoteClassification(multi_label=True, thresholds="per_label").tune(gold[1:], said[1:])  # 19 have A
    assert fewer.label_thresholds == {} and 0 < fewer.threshold < 1


def test_labels_without_a_threshold_of_their_own_keep_the_common_one() -> None:
    task = NoteClassification(multi_label=True, threshold=0.5, label_thresholds={"A": 0.9})
    logits = np.log(np.array([0.8, 0.6, 0.4]) / (1 - np.array([0.8, 0.6, 0.4])))
    assert labels_of(task, logits) == ("B",)  # A has 0.8, under its own 0.9; C has 0.4, under the common 0.5
    assert labels_of(replace(task, label_thresholds={}), logits) == ("A", "B")


def labels_of(task: NoteClassification, logits: np.ndarray) -> tuple[str, ...]:
    """What the task says of a note of one window."""
    row: Any = None
    nothing: Any = None
    answers: list[list[tuple[Row, np.ndarray]]] = [[(row, logits)]]
    tokens: list[Tokens] = [nothing]
    (found,) = task.decode([note(1)], tokens, answers, LabelSchema(("A", "B", "C")))
    return found.labels


def test_one_threshold_is_chosen_unless_asked_otherwise() -> None:
    common = NoteClassification(multi_label=True).tune(*twenty())
    both = NoteClassification(multi_label=True, thresholds="per_label").tune(*twenty())
    assert common.label_thresholds == {} and common.threshold == both.threshold != 0.5


def test_thresholds_are_chosen_anew_each_time() -> None:
    fresh = NoteClassification(multi_label=True, thresholds="per_label")
    again = replace(fresh, threshold=0.9, label_thresholds={"A": 0.01, "gone": 0.5})
    assert again.tune(*twenty()) == fresh.tune(*twenty())
    assert replace(again, thresholds="global").tune(*twenty()).label_thresholds == {}


def test_a_multi_class_task_has_no_thresholds() -> None:
    gold = [note(1, "A"), note(2, "B")]
    task = NoteClassification(multi_label=False, thresholds="per_label")
    tuned = task.tune(gold, scored(gold, {"A": 0.9, "B": 0.1}, {"A": 0.2, "B": 0.8}))
    assert (tuned.threshold, tuned.label_thresholds) == (task.threshold, {})
    with pytest.raises(ConfigError) as caught:
        NoteClassification(label_thresholds={"A": 0.3}).resolve(gold)
    assert str(caught.value) == (
        "task.label_thresholds: each note has one class, the most probable one: no label can have a threshold. "
        "Next: leave it out, or --task.multi_label true."
    )


def test_dev_without_labels_leaves_the_threshold() -> None:
    gold = [note(1), note(2)]
    said = scored(gold, {"A": 0.9}, {"A": 0.1})
    task = NoteClassification(multi_label=True, threshold=0.4)
    assert task.tune(gold, said).threshold == 0.4
    assert task.tune([], []).threshold == 0.4


def test_a_note_without_tokens_counts_as_missed() -> None:
    """With it: 2*1/(1+3) at 0.9 against 2*2/(4+3) at 0.3; without it 2/3 at both, and the higher would be taken."""
    gold = [note(1, "A"), note(2), note(3), note(4, "A")]
    scores = [{"A": 0.9}, {"A": 0.7}, {"A": 0.5}, {"A": 0.3}]
    task = NoteClassification(multi_label=True)
    assert task.tune(gold, scored(gold, *scores)).threshold == pytest.approx(0.8)
    empty = note(5, "A", text=" ")
    assert task.tune([*gold, empty], scored([*gold, empty], *scores, {})).threshold == pytest.approx(0.15)


def test_scores_that_are_no_numbers_set_no_threshold() -> None:
    gold = [note(1, "A"), note(2)]
    with pytest.raises(DataError, match="1 of 2 scores are no probabilities"):
        NoteClassification(multi_label=True).tune(gold, scored(gold, {"A": math.nan}, {"A": 0.1}))


def test_thresholds_of_other_documents_are_refused() -> None:
    gold, said = twenty()
    with pytest.raises(DataError, match="gold and predictions hold different documents: 1 of 50 gold"):
        NoteClassification(multi_label=True).tune(gold, said[1:])


def test_what_training_sets_is_kept_in_the_model_folder(tmp_path: Path) -> None:
    labels = ("A", "B: with, signs", "2019", "name")
    task = NoteClassification(
        multi_label=True,
        threshold=0.1 + 0.2,
        thresholds="per_label",
        label_thresholds=dict(zip(labels, (1 / 3, 0.0, 1.0, 1e-17), strict=True)),
        balance=0.5,
        label_weights=dict.fromkeys(labels, (1 / 3, 7.0)),
    )
    Card(task, LabelSchema(labels), "base", "0" * 64).write(tmp_path)
    assert Card.read(tmp_path).task == task
    assert config.build(NoteClassification, json.loads(json.dumps(config.plain(task)))) == task


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threshold": 1.5}, "task.threshold: 1.5 is not from 0 to 1. Next: choose a number from 0 to 1."),
        (
            {"label_thresholds": {"A": math.nan}},
            "task.label_thresholds.A: nan is not from 0 to 1. Next: choose a number from 0 to 1.",
        ),
        ({"balance": -0.5}, "task.balance: -0.5 is not from 0 to 1. Next: choose a number from 0 to 1."),
        (
            {"label_weights": {"A": (1.0, 0.0)}},
            "task.label_weights.A: [1.0, 0.0] are not two weights. "
            "Next: give the weight of notes with the label and of notes without it, both over 0.",
        ),
    ],
)
def test_settings_that_are_no_thresholds_or_weights_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NoteClassification(**given)
    assert str(caught.value) == said


@pytest.mark.parametrize("given", [{"label_thresholds": {"X": 0.5}}, {"label_weights": {"X": (1.0, 1.0)}}])
def test_settings_of_unknown_labels_are_refused_before_training(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        NoteClassification(multi_label=True, **given).head_config(LabelSchema(("A", "B")))
    assert str(caught.value) == f"task.{next(iter(given))}: 'X' is not a label of the data. Next: the labels are A, B."


def test_a_multi_label_task_is_scored_as_one() -> None:
    gold = [note(1, "A"), note(2, "B")]
    said = [replace(d, meta={"label_scores": {"A": 0.5, "B": 0.5}}) for d in gold]
    schema = LabelSchema(("A", "B"))
    for multi_label in (True, False):
        report = NoteClassification(multi_label=multi_label).evaluate(gold, said, schema, seed=1)
        assert report.notes is not None and report.notes.multi_label is multi_label
        assert report.data.documents == 2


# --- class weights


def weights(balance: float, *notes: str, multi_label: bool | None = None) -> dict[str, tuple[float, float]]:
    """What balance makes of training notes, each a word of one-letter labels."""
    documents = [note(i, *labels) for i, labels in enumerate(notes)]
    return dict(NoteClassification(balance=balance, multi_label=multi_label).resolve(documents).label_weights)


def test_weights_of_classes_counted_by_hand() -> None:
    # A 9 notes, B 1. In full: 1/9 and 1, of mean (9 * 1/9 + 1) / 10 = 0.2: 5/9 and 5
    assert weights(1.0, *"AAAAAAAAAB") == {"A": (pytest.approx(5 / 9), 1.0), "B": (pytest.approx(5), 1.0)}
    # by the root: 1/3 and 1, of mean (9 * 1/3 + 1) / 10 = 0.4: 5/6 and 5/2
    assert weights(0.5, *"AAAAAAAAAB") == {"A": (pytest.approx(5 / 6), 1.0), "B": (pytest.approx(5 / 2), 1.0)}
    assert weights(0.0, *"AAAAAAAAAB") == {}


def test_weights_of_labels_counted_by_hand() -> None:
    # A: 1 note of 10 with it: 5 with and 5/9 without, 9 times as much; B: 5 and 5, equal; C: in all, none is without it
    given = weights(1.0, "ABC", *["BC"] * 4, *["C"] * 5)
    assert given["A"] == pytest.approx((5, 5 / 9))
    assert given["B"] == pytest.approx((1, 1))
    assert given["C"] == (1.0, 1.0)
    assert weights(0.5, "A", *[""] * 9)["A"] == pytest.approx((5 / 2, 5 / 6))


def test_full_balance_is_sklearns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = "AAAAABBCCCCCCCCCD"
    expected = compute_class_weight("balanced", classes=np.array(list("ABCD")), y=np.array(list(labels)))
    assert [weight for weight, _ in weights(1.0, *labels).values()] == pytest.approx(expected.tolist(), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["A", "B", "C", "AB", "ABC", ""]), min_size=1), st.floats(0.01, 1))
def test_weights_have_the_mean_one_over_the_notes(notes: list[str], balance: float) -> None:
    for label, (present, absent) in weights(balance, *notes, multi_label=True).items():
        assert np.mean([present if label in labels else absent for labels in notes]) == pytest.approx(1)
    if single := [labels for labels in notes if len(labels) == 1]:
        given = weights(balance, *single)
        assert np.mean([given[label][0] for label in single]) == pytest.approx(1)
        counts = sorted(given, key=single.count)
        assert all(given[a][0] >= given[b][0] - 1e-12 for a, b in pairwise(counts))


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_weighs_notes_as_counted_by_hand(multi_label: bool, tiny: Tiny) -> None:
    """The weighted loss is the sum over single notes of weight times the unweighted loss."""
    labels = [("A",), ("A",), ("A",), ("B",)] if not multi_label else [("A", "B"), ("A",), ("A",), ()]
    documents = [note(i, *given, text=f"fever {'cough ' * i}") for i, given in enumerate(labels)]
    plain = NoteClassification(window=16, overlap=4, multi_label=multi_label).resolve(documents)
    balanced = replace(plain, balance=1.0).resolve(documents)
    tokenizer, schema = NoteTokenizer.load(tiny("bert")), plain.schema(documents)
    model = classifier(plain, schema, tiny("bert"))
    together = loss_of(balanced, model, documents, tokenizer, schema)
    if not multi_label:
        each = [loss_of(plain, model, [document], tokenizer, schema) for document in documents]
        # A 3 of 4, B 1 of 4: 4 / (2 * 3) = 2/3 and 4 / (2 * 1) = 2
        assert together == pytest.approx(2 / 3 * sum(each[:3]) + 2 * each[3], abs=1e-5)
        return
    examples, _ = balanced.examples(documents, tokenizer, schema)
    batch = balanced.collate(examples, tokenizer.pad_id or 0)
    assert batch["weights"].dtype == torch.float32
    # A 3 of 4: 2/3 with and 2 without; B 1 of 4: 2 with and 2/3 without
    by_hand = [[2 / 3, 2], [2 / 3, 2 / 3], [2 / 3, 2 / 3], [2, 2 / 3]]
    assert batch["weights"].tolist() == [pytest.approx(row) for row in by_hand]
    given = dict(batch)
    with torch.no_grad():
        logits = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits.double().numpy()
    truth = given["labels"].numpy()
    losses = np.log1p(np.exp(-logits)) * truth + np.log1p(np.exp(logits)) * (1 - truth)
    assert together == pytest.approx(float((losses * np.array(by_hand)).sum()), abs=1e-5)


def test_without_balance_a_batch_has_no_weights(tiny: Tiny) -> None:
    documents = [note(1, "A"), note(2, "B")]
    task = NoteClassification().resolve(documents)
    tokenizer = NoteTokenizer.load(tiny("bert"))
    examples, _ = task.examples(documents, tokenizer, task.schema(documents))
    assert set(task.collate(examples, 0)) == {"input_ids", "attention_mask", "note", "labels"}


def test_balance_of_no_notes_is_left_to_the_check_of_the_data() -> None:
    assert NoteClassification(balance=1.0).resolve([]).label_weights == {}


# --- batches


def classifier(task: NoteClassification, schema: LabelSchema, folder: Path) -> Any:
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **task.head_config(schema))
    return model.eval()


def loss_of(
    task: NoteClassification, model: Any, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
) -> float:
    examples, _ = task.examples(documents, tokenizer, schema)
    with torch.no_grad():
        loss = task.loss(model, task.collate(examples, tokenizer.pad_id or 0), 1)
    assert loss.dtype == torch.float32
    return float(loss)


@pytest.mark.parametrize(
    ("words", "window", "width"),
    [(5, 64, 32), (30, 64, 32), (31, 64, 64), (200, 64, 64), (5, 24, 24), (200, 24, 24), (40, 50, 50)],
)
def test_rows_have_a_round_length_within_the_window(words: int, window: int, width: int, tiny: Tiny) -> None:
    documents = [note(1, "A", text="fever " * words), note(2, "B", text="cough")]
    task = NoteClassification(window=window, overlap=4).resolve(documents)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))  # one token a word and two around them
    examples, _ = task.examples(documents, tokenizer, task.schema(documents))
    batch = task.collate(examples, 7)
    assert batch["input_ids"].shape[1] == batch["attention_mask"].shape[1] == width
    assert batch["input_ids"][-1, 3:].tolist() == [7] * (width - 3)
    assert batch["attention_mask"][-1].tolist() == [1] * 3 + [0] * (width - 3)
    assert batch["attention_mask"].sum() == sum(len(example) for example in examples)


@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_padding_leaves_the_loss_as_it_is(kind: str, tiny: Tiny) -> None:
    documents = [note(1, "A", text="fever cough " * 6), note(2, "B", text="chest pain")]
    task = NoteClassification(window=64, overlap=8).resolve(documents)
    tokenizer, schema = NoteTokenizer.load(tiny(kind)), task.schema(documents)
    model = classifier(task, schema, tiny(kind))
    examples, _ = task.examples(documents, tokenizer, schema)
    padded = task.collate(examples, tokenizer.pad_id or 0)
    longest = max(len(row.ids) for example in examples for row in example.rows)
    bare = {name: part[:, :longest] if part.ndim == 2 else part for name, part in padded.items()}
    assert bare["input_ids"].shape[1] < padded["input_ids"].shape[1]
    with torch.no_grad():
        assert abs(float(task.loss(model, padded, 2)) - float(task.loss(model, bare, 2))) < 1e-6


@pytest.mark.parametrize("held", [1, 64])
def test_windows_computed_in_parts_give_the_same_loss_and_gradients(
    held: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = NoteClassification(window=16, overlap=4, multi_label=True)
    schema = LabelSchema(("a", "b"))
    tokenizer = NoteTokenizer.load(tiny("bert"))
    notes = [note(n, "a" if n % 2 else "b", text="fever and cough " * 8) for n in range(3)]
    examples, _ = task.examples(notes, tokenizer, schema)
    model = classifier(task, schema, tiny("bert"))
    seen: list[tuple[float, list[torch.Tensor]]] = []
    for limit in (10**9, held):
        monkeypatch.setattr("clinnlp.tasks._windows.HELD_TOKENS", limit)
        model.zero_grad()
        loss = task.loss(model, task.collate(examples, 0), 6)
        loss.backward()
        seen.append((loss.item(), [w.grad.clone() for w in model.parameters() if w.grad is not None]))
    assert sum(len(example.rows) for example in examples) > 4, "there are several windows"
    assert seen[0][0] == pytest.approx(seen[1][0], abs=1e-6)
    for whole, parts in zip(seen[0][1], seen[1][1], strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)
