"""Several tasks as one training source: how often each is drawn, and a loss that does not depend on the batches."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.models.load import Base
from clinnlp.strategies.base import head_names
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from clinnlp.training.loader import Draw
from clinnlp.training.multitask import Portion, Several, TasksSource, share_encoder, shares
from tests.tiny import sentences

Tiny = Callable[[str], Path]
TEXTS = sentences(40)
NOTES = [Document(str(n), text, (Span(0, 7, "A"),), ("xy"[n % 2],)) for n, text in enumerate(TEXTS)]
NER, KIND = Ner(window=24, overlap=6), NoteClassification(window=24, overlap=6, multi_label=False)
SCHEMAS = LabelSchema(("A",)), LabelSchema(("x", "y"))


def portions(tiny: Tiny, counts: tuple[int, int] = (32, 8), weights: tuple[float, float] = (1.0, 1.0)) -> list[Portion]:
    tokenizer = NoteTokenizer.load(tiny("bert"))
    made = []
    for task, schema, count, weight in zip((NER, KIND), SCHEMAS, counts, weights, strict=True):
        made.append(Portion(task, task.examples(NOTES[:count], tokenizer, schema)[0], weight))
    return made


def models(tiny: Tiny, lora: bool = False) -> Several:
    torch.manual_seed(0)
    made: list[Any] = []
    for task, schema in zip((NER, KIND), SCHEMAS, strict=True):
        model = Base(str(tiny("bert"))).model(task.model_class, task.head_config(schema))[0]
        made.append(Lora().apply(model) if lora else model)
    share_encoder(made)
    return Several(made).eval()


def test_shares_by_hand() -> None:
    assert shares([900, 100], 1).tolist() == pytest.approx([0.9, 0.1])
    assert shares([900, 100], 2).tolist() == pytest.approx([0.75, 0.25])  # 30 : 10
    assert shares([900, 100], 1e9).tolist() == pytest.approx([0.5, 0.5])


def test_an_epoch_draws_by_the_shares_and_every_example_in_its_turn(tiny: Tiny) -> None:
    parts = portions(tiny)
    source = TasksSource(parts, 0, seed=3, temperature=2.0)
    sizes = [len(part.examples) for part in parts]
    total = sum(sizes)
    assert len(source.lengths) == total
    roots = np.sqrt(sizes)
    expected = total * roots / roots.sum()
    seen: Counter[tuple[int, bytes]] = Counter()
    epochs = 30
    for epoch in range(epochs):
        drawn = [source.example(Draw(epoch, place, 0.0)) for place in range(total)]
        counts = Counter(one.number for one in drawn)
        assert all(abs(counts[number] - expected[number]) <= 2 for number in (0, 1))
        seen.update((one.number, one.example.rows[0].ids.tobytes()) for one in drawn)
    for number, part in enumerate(parts):
        each = [seen[number, one.rows[0].ids.tobytes()] for one in part.examples]
        wanted = epochs * expected[number] / sizes[number]
        assert min(each) > 0.5 * wanted and max(each) < 2 * wanted
    again = TasksSource(parts, 0, seed=3, temperature=2.0)
    assert again.example(Draw(7, 5, 0.0)).example is source.example(Draw(7, 5, 0.0)).example
    other = TasksSource(parts, 0, seed=4, temperature=2.0)
    draws = [Draw(7, place, 0.0) for place in range(total)]
    assert any(other.example(one).example is not source.example(one).example for one in draws)


def test_one_encoder_and_a_head_for_each(tiny: Tiny) -> None:
    whole = models(tiny, lora=True)
    names = [name for name, _ in whole.named_parameters()]
    assert any(name.startswith("models.0.") and "lora_A" in name for name in names)
    own = [name for name in names if name.startswith("models.1.")]
    heads = head_names(Base(str(tiny("bert"))).model(KIND.model_class, KIND.head_config(SCHEMAS[1]))[0])
    assert own and all(any(f".{head}." in name for head in heads) for name in own)


@pytest.mark.parametrize("lora", [False, True])
def test_loss_and_gradients_do_not_depend_on_the_batches(tiny: Tiny, lora: bool) -> None:
    whole = models(tiny, lora)
    source = TasksSource(portions(tiny, weights=(1.0, 3.0)), 0, seed=0, temperature=2.0)
    drawn = [source.example(Draw(0, place, 0.0)) for place in range(16)]
    assert {one.number for one in drawn} == {0, 1}

    def gradients(batch: int) -> tuple[float, dict[str, torch.Tensor]]:
        whole.zero_grad()
        batches = [source.collate(drawn[first : first + batch]) for first in range(0, len(drawn), batch)]
        items = sum(int((one["labels"] != -100).sum()) for one in batches)
        assert items == 16
        losses = [source.loss(whole, one, torch.tensor(items)) for one in batches]
        for loss in losses:
            loss.backward()
        found = {name: weight.grad.clone() for name, weight in whole.named_parameters() if weight.grad is not None}
        return sum(float(loss.detach()) for loss in losses), found

    loss, whole_batch = gradients(16)
    parts, by_fives = gradients(5)
    assert parts == pytest.approx(loss, abs=1e-6)
    assert whole_batch.keys() == by_fives.keys()
    for name, gradient in whole_batch.items():
        assert torch.allclose(gradient, by_fives[name], atol=1e-6), name


def test_the_loss_by_hand(tiny: Tiny) -> None:
    whole, made = models(tiny), portions(tiny, weights=(1.0, 3.0))
    source = TasksSource(made, 0, seed=0, temperature=2.0)
    targets = [sum(int((one.targets != -100).sum()) for one in made[0].examples) / len(made[0].examples), 1.0]
    assert source.targets == pytest.approx(targets)
    drawn = [source.example(Draw(0, place, 0.0)) for place in range(12)]
    expected = 0.0
    for number, part in enumerate(made):
        own = [one.example for one in drawn if one.number == number]
        summed = float(part.task.loss(whole.models[number], part.task.collate(own, 0), 1))
        expected += (1.0, 3.0)[number] * summed / targets[number] / 12
    assert float(source.loss(whole, source.collate(drawn), torch.tensor(12))) == pytest.approx(expected, rel=1e-5)
