"""Dropout while training: its share, and attention without it, which is the fast kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Set every dropout layer to `share`; the model's config keeps its own for fine-tuning."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


@contextmanager
def attention_dropout(wanted: bool) -> Iterator[None]:
    """Unless it is wanted, let all models of the process attend without dropout of attention weights in this block.

    With it torch has no fused attention on CPUs: what it computes step by step is several times as slow. Hidden states
    are dropped as ever. Architectures that go around transformers' attention functions (DeBERTa) keep theirs.
    """
    functions: Any = ALL_ATTENTION_FUNCTIONS
    own = {} if wanted else dict(functions)
    for name, function in own.items():
        functions[name] = partial(_whole, function)
    try:
        yield
    finally:
        for name in own:
            del functions[name]


def _whole(function: Callable[..., Any], *tensors: Any, **given: Any) -> Any:
    return function(*tensors, **given | {"dropout": 0.0})
