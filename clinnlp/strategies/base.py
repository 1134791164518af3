"""What a strategy is: which weights move, and when."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch

LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")
AFTER = re.compile(r"\.(?:final_norm|final_layer_norm|ln_f)\.")  # a norm behind the last layer


@dataclass(frozen=True)
class Strategy:
    """One answer to "which weights move, and when"; its fields are its options.

    To add one: write `clinnlp/strategies/NAME.py` with one frozen dataclass that extends this class.
    """

    kind: ClassVar[str] = "strategies"
    default_learning_rate: ClassVar[float] = 3e-5
    default_epochs: ClassVar[float] = 8
    needs_base: ClassVar[bool] = True
    """Whether it is of no use without pretrained weights."""

    head_learning_rate: float | None = None
    """Peak rate of the fresh head; null takes the rate of the other weights."""

    @property
    def caches(self) -> bool:
        """Whether what lies under the lowest weight that moves is computed once, without dropout, and kept."""
        return False

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Make all weights trainable that ever move; returns the model to train.

        Raises ConfigError if the model has none that this strategy is about.
        """
        return model

    def moving(self, levels: Mapping[str, int], progress: float) -> Collection[str]:
        """Which of the trainable weights move in a step; a function of nothing but `progress`, the share of steps done.

        `levels` has the level of each: 0 for embeddings, 1 to n for layers, n + 1 for the head, which always moves.
        """
        return levels

    def rate_of(self, name: str) -> float:
        """The rate of a weight as a multiple of the rate of its layer."""
        return 1.0

    def finish(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """What is saved and used once training ends."""
        return model


def head_names(model: "torch.nn.Module") -> list[str]:
    """The children of a transformers task model that stand on top of its encoder and have weights, its pooler too.

    A masked-LM base has no pooler: BERT's is then as fresh as the classifier on top of it, and must be saved with it.
    """
    inner: Any = model
    on_top = [
        name
        for name, child in inner.named_children()
        if child is not inner.base_model and any(True for _ in child.parameters())
    ]
    pooler = getattr(inner.base_model, "pooler", None)
    return [*on_top, "pooler"] if pooler is not None and "pooler" not in on_top else on_top


def levels(model: "torch.nn.Module", heads: Sequence[str]) -> dict[str, int]:
    """The level of each weight: 0 for the embeddings and what else lies under the layers, 1 to n for the layers, n + 1
    for the head.

    `heads` are its names before an adapter was put in. A norm behind the last layer counts to that layer.
    """
    names = [name for name, _ in model.named_parameters()]
    numbers = {name: int(found[1]) + 1 for name in names if (found := LAYER.search(name)) and not in_head(name, heads)}
    count = max(numbers.values(), default=0)
    lowest = {name: count if AFTER.search(name) else 0 for name in names}
    return lowest | numbers | {name: count + 1 for name in names if in_head(name, heads)}


def layer_count(places: Mapping[str, int], where: str = "strategy") -> int:
    """How many layers there are. Raises ConfigError for an architecture whose layers have no numbers."""
    count = max(places.values()) - 1
    if count < 1:
        raise ConfigError(
            "this goes by layers, and the base has none that are numbered",
            where=where,
            next="leave it out, or choose --strategy full or lora",
        )
    return count


def in_head(name: str, heads: Sequence[str]) -> bool:
    """Whether a weight or module is one of the head's, by its dotted name."""
    parts = name.split(".")
    return any(head in parts for head in heads)


def freeze_all_but(model: "torch.nn.Module", heads: Sequence[str], moves: Callable[[str], bool]) -> int:
    """Let the head move, and those weights of the encoder that `moves` picks by name; returns how many these are."""
    picked = 0
    for name, weight in model.named_parameters():
        of_head = in_head(name, heads)
        weight.requires_grad = of_head or moves(name)
        picked += weight.requires_grad and not of_head
    return picked


def parameter_groups(
    model: "torch.nn.Module",
    heads: list[str],
    rate: float,
    head_rate: float,
    weight_decay: float,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    base_penalty: float = 0.0,
) -> list[dict[str, Any]]:
    """Optimizer groups of the trainable weights, by rate; biases and norms are not decayed.

    With `base_penalty` the groups of the encoder carry it, for decay towards what they began with in place of zero.
    Groups of the encoder come first, the one with the highest rate before the others.
    """
    groups: dict[tuple[bool, bool, float], list[Any]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            is_head = in_head(name, heads)
            own = (head_rate if is_head else rate) * rate_of(name)
            groups.setdefault((is_head, weight.ndim > 1, own), []).append(weight)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], -item[0][2], item[0][1]))
    return [
        {
            "params": weights,
            "lr": own,
            "weight_decay": weight_decay if decayed and (is_head or not base_penalty) else 0.0,
            "base_penalty": 0.0 if is_head else base_penalty,
        }
        for (is_head, decayed, own), weights in ordered
    ]
