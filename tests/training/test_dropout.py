"""Attention is trained without dropout of its weights, unless that is wanted; hidden states keep theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from clinnlp.encode.varlen import use_varlen
from clinnlp.training.dropout import attention_dropout
from clinnlp.training.fit import fit
from clinnlp.training.settings import FitSettings
from tests.training.test_fit import Line, Points, squares

Tiny = Callable[[str], Path]


def answers(model: Any) -> torch.Tensor:
    """What a model in training answers to some ids, three times."""
    ids = torch.arange(5, 29).view(2, 12)
    with torch.no_grad():
        return torch.stack([model(input_ids=ids).last_hidden_state for _ in range(3)])


def dropping_attention_alone(folder: Path) -> Any:
    """An encoder in training whose hidden states are kept whole."""
    config = transformers.AutoConfig.from_pretrained(folder)
    dropout = {name: 0.0 for name in config.to_dict() if name.endswith(("dropout", "dropout_prob"))}
    name = "attention_dropout" if "attention_dropout" in dropout else "attention_probs_dropout_prob"
    model = transformers.AutoModel.from_pretrained(folder, **dropout | {name: 0.5})
    for module in model.modules():
        if hasattr(module, "out_drop"):  # ModernBERT drops what attention gives by the same share
            module.out_drop = torch.nn.Identity()
    return model.train()


@pytest.mark.parametrize("kind", ["bert", "electra", "roberta", "modernbert"])
def test_attention_weights_are_dropped_where_that_is_wanted_alone(tiny: Tiny, kind: str) -> None:
    model = dropping_attention_alone(tiny(kind))
    with attention_dropout(False):
        same = answers(model)
    with attention_dropout(True):
        other = answers(model)
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
    assert not torch.equal(other[0], other[1])
    assert not torch.equal(answers(model)[0], answers(model)[1])  # and after the block as before


def test_without_dropout_of_its_weights_attention_is_that_of_scoring(tiny: Tiny) -> None:
    model = dropping_attention_alone(tiny("bert"))
    with attention_dropout(False):
        trained = answers(model)[0]
    assert torch.equal(trained, answers(model.eval())[0])


def test_attention_by_pieces_is_whole_too(tiny: Tiny) -> None:
    model = dropping_attention_alone(tiny("bert"))
    use_varlen(model)
    with attention_dropout(False):
        same = answers(model)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(*answers(model)[:2])


def test_hidden_states_are_dropped_all_the_same(tiny: Tiny) -> None:
    model = transformers.AutoModel.from_pretrained(tiny("bert")).train()
    with attention_dropout(False):
        found = answers(model)
    assert not torch.equal(found[0], found[1])


def test_an_error_leaves_the_functions_of_transformers_as_they_were() -> None:
    before = dict(ALL_ATTENTION_FUNCTIONS)
    with pytest.raises(KeyError), attention_dropout(False):
        assert dict(ALL_ATTENTION_FUNCTIONS) != before
        raise KeyError
    assert dict(ALL_ATTENTION_FUNCTIONS) == before


@pytest.mark.parametrize("wanted", [True, False])
def test_training_attends_as_its_setting_says(wanted: bool) -> None:
    plain, used, model = ALL_ATTENTION_FUNCTIONS["sdpa"], [], Line()

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        used.append(ALL_ATTENTION_FUNCTIONS["sdpa"] is plain)
        return squares(model, batch, items)

    settings = FitSettings(epochs=1, device="cpu", precision="fp32", attention_dropout=wanted)
    fit(model, Points(loss), [{"params": list(model.parameters()), "lr": 0.1}], settings, 1)
    assert set(used) == {wanted}
