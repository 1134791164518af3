"""The frozen lower part of a model, computed once: the same answers, the same steps, and only where it works."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from clinnlp import plugins
from clinnlp.core.document import Document, Span
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, levels, parameter_groups
from clinnlp.strategies.feature_extractor import FeatureExtractor
from clinnlp.strategies.freeze import Freeze
from clinnlp.strategies.full import Full
from clinnlp.strategies.top_layers import TopLayers
from clinnlp.training.dropout import set_dropout
from clinnlp.training.fit import fit
from clinnlp.training.loader import Draw
from clinnlp.training.prefix import CachedSource, cached
from clinnlp.training.settings import FitSettings
from clinnlp.training.supervised import ExampleSource
from tests.tiny import TOKENIZER_OF, sentences

Tiny = Callable[[str], Path]
KINDS = tuple(TOKENIZER_OF)
TASKS = ("ner", "note_classification")


def prepared(strategy: Strategy, kind: str, task: str, tiny: Tiny) -> tuple[Any, dict[str, int], ExampleSource]:
    """A tiny model without dropout, its levels, and notes of several lengths, some of two windows."""
    plugin: Any = plugins.find("tasks", task)
    options = {"multi_label": False} if task == "note_classification" else {}
    made = plugin(window=16, overlap=4, **options)
    texts = [" ".join(line.split()[: 3 + number]) for number, line in enumerate(sentences(10))]
    documents = [
        Document(f"{number}", text, (Span(0, 3, "ab"[number % 2]),), ("ab"[number % 2],))
        for number, text in enumerate(texts)
    ]
    tokenizer, schema = NoteTokenizer.load(tiny(kind)), made.schema(documents)
    torch.manual_seed(0)
    loader = getattr(transformers, made.model_class)
    model = loader.from_pretrained(tiny(kind), **made.head_config(schema))
    heads = head_names(model)
    model = strategy.apply(model)
    set_dropout(model, 0.0)
    examples, _ = made.examples(documents, tokenizer, schema)
    assert any(len(one.rows) > 1 for one in examples) or task == "ner"
    return model, levels(model, heads), ExampleSource(examples, made, tokenizer.pad_id or 0)


def both(source: Any, given: Any) -> tuple[Any, Any]:
    """A batch as ids, and as activations."""
    draws = [Draw(0, index, 0.0) for index in range(5)]
    return tuple(one.collate([one.example(draw) for draw in draws]) for one in (source, given))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_the_parts_have_the_loss_and_gradients_of_the_whole(kind: str, task: str, tiny: Tiny) -> None:
    model, places, source = prepared(TopLayers(), kind, task, tiny)
    upper, given = cached(model, places, source, 4, "cpu")
    assert isinstance(given, CachedSource)
    moving = {n: w for n, w in model.named_parameters() if w.requires_grad}
    own = dict(upper.named_parameters())
    assert all(own[name] is weight for name, weight in moving.items()), "the same weights, by the same names"
    assert {places[name] for name in own} <= {0, 2, 3}, "nothing is left of layer 1"
    found = []
    for part, (over, batch) in enumerate(zip((model, upper), both(source, given), strict=True)):
        assert ("input_ids" in batch, "inputs_embeds" in batch) == (part == 0, part == 1)
        model.zero_grad()
        loss = source.loss(over, batch, 10)
        loss.backward()
        found.append((loss.item(), [w.grad.clone() for w in moving.values()]))
    assert found[0][0] == pytest.approx(found[1][0], abs=2e-3), "half precision"
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, atol=5e-3, rtol=5e-2)


def test_training_comes_to_the_same_with_and_without_the_cache(tiny: Tiny) -> None:
    settings = FitSettings(device="cpu", precision="fp32", batch=4, max_steps=12, epochs=99)
    ends, starts = [], []
    for cache in (False, True):
        model, places, source = prepared(TopLayers(), "bert", "ner", tiny)
        starts.append({n: w.detach().clone() for n, w in model.named_parameters() if w.requires_grad})
        groups = parameter_groups(model, ["classifier"], 1e-2, 1e-2, 0.01)
        upper: tuple[Any, Any] = cached(model, places, source, 4, "cpu") if cache else (model, source)
        fit(*upper, groups, settings, 1)
        ends.append({n: w.detach() for n, w in model.named_parameters() if w.requires_grad})
    moved = max(float((ends[0][n] - starts[0][n]).abs().max()) for n in ends[0])
    apart = max(float((ends[0][n] - ends[1][n]).abs().max()) for n in ends[0])
    assert moved > 0.05 > 10 * apart


@pytest.mark.parametrize("kind", ["bert", "electra", "roberta", "modernbert"])
@pytest.mark.parametrize("task", TASKS)
def test_a_whole_encoder_can_be_kept(kind: str, task: str, tiny: Tiny) -> None:
    model, places, source = prepared(FeatureExtractor(cache=True), kind, task, tiny)
    upper, given = cached(model, places, source, 4, "cpu")
    whole, kept = both(source, given)
    assert source.loss(model, whole, 10).item() == pytest.approx(source.loss(upper, kept, 10).item(), abs=2e-3)


def test_dropout_is_off_under_the_layers_that_move(tiny: Tiny) -> None:
    model, places, source = prepared(TopLayers(), "bert", "ner", tiny)
    set_dropout(model, 0.5)
    upper, given = cached(model, places, source, 4, "cpu")
    upper.train()
    _, batch = both(source, given)
    _, again = both(source, given)
    assert torch.equal(batch["inputs_embeds"], again["inputs_embeds"])
    assert any(m.training for m in upper.modules() if isinstance(m, torch.nn.Dropout)), "and on in them"


@pytest.mark.parametrize("strategy", [Full(), Freeze(layers=0)], ids=str)
def test_where_the_lowest_layer_moves_nothing_is_kept(strategy: Strategy, tiny: Tiny) -> None:
    model, places, source = prepared(strategy, "bert", "ner", tiny)
    assert cached(model, places, source, 4, "cpu") == (model, source)


def test_too_little_memory_is_told_before(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, places, source = prepared(TopLayers(), "bert", "ner", tiny)
    monkeypatch.setattr(os, "sysconf", lambda name: 4)
    with pytest.raises(ConfigError) as error:
        cached(model, places, source, 4, "cpu")
    assert str(error.value) == (
        "strategy.cache: the activations of all rows take 0 GB. "
        "Next: use --strategy.cache false: the lower layers are then computed in every step."
    )


def test_a_base_whose_layers_are_more_than_a_row_of_them_is_refused(tiny: Tiny) -> None:
    """DeBERTa's encoder cannot do without a layer; another here adds the number of its layers in the end."""
    model, places, source = prepared(FeatureExtractor(), "deberta_v2", "ner", tiny)
    with pytest.raises(ConfigError, match=r"strategy\.cache: the layers of this base cannot be computed part by part"):
        cached(model, places, source, 4, "cpu")
    model, places, source = prepared(TopLayers(), "bert", "ner", tiny)
    model.get_base_model().bert.register_forward_hook(_shift)
    with pytest.raises(ConfigError, match="part by part"):
        cached(model, places, source, 4, "cpu")


def _shift(module: Any, given: Any, found: Any) -> Any:
    found.last_hidden_state = found.last_hidden_state + float(len(module.encoder.layer))
    return found
