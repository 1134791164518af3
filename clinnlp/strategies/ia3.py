"""Learned scales of keys, values and inner activations."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import LAYER, Strategy, head_names, in_head

if TYPE_CHECKING:
    import torch

ATTENTION = re.compile(r"(?:^|[._])(?:key|value|k|v|key_proj|value_proj|k_proj|v_proj|k_lin|v_lin|Wqkv|in_proj|qkv)$")


@dataclass(frozen=True)
class Ia3(Strategy):
    """One factor for each key, value and inner activation moves, and the head (Liu et al. 2022)."""

    default_learning_rate: ClassVar[float] = 3e-3
    default_epochs: ClassVar[float] = 20

    merge: bool = False
    """Save the adapter merged into its base: a full model folder that needs no base beside it."""

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Wrap the model with peft. Raises ConfigError if no layer has keys, values or a wider inner activation.

        Where queries, keys and values are one projection (ModernBERT), queries are scaled too.
        """
        from peft import IA3Config, get_peft_model
        from torch.nn import Linear

        inner: Any = model
        linears = {n: m for n, m in inner.named_modules() if isinstance(m, Linear) and LAYER.search(f"{n}.")}
        scaled = [name for name in linears if ATTENTION.search(name)]
        width = inner.config.hidden_size
        inside = [name for name, one in linears.items() if one.out_features == width != one.in_features]
        if not scaled or not inside:
            raise ConfigError(
                "this base has no keys, values and inner activations that ia3 knows",
                where="strategy",
                next="choose --strategy lora",
            )
        # no task type, as for lora; the head's modules one by one, since peft cannot merge ia3 beside a head of several
        saved = [n for n, m in inner.named_modules() if in_head(n, head_names(inner)) and m._parameters]
        config = IA3Config(target_modules=[*scaled, *inside], feedforward_modules=inside, modules_to_save=saved)
        wrapped: Any = get_peft_model(inner, config)
        found = wrapped.peft_config["default"]  # a set is written in another order by every process
        found.target_modules, found.feedforward_modules = sorted([*scaled, *inside]), sorted(inside)
        adapted: torch.nn.Module = wrapped
        return adapted

    def finish(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """The adapter, or with `merge` the full model."""
        inner: Any = model
        merged: torch.nn.Module = inner.merge_and_unload() if self.merge else inner
        return merged
