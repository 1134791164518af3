"""What a strategy is: which weights move, and when."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Strategy:
    """One answer to "which weights move"; its fields are its options.

    To add one: write `clinnlp/strategies/NAME.py` with one frozen dataclass that extends this class.
    """

    kind: ClassVar[str] = "strategies"
    default_learning_rate: ClassVar[float] = 3e-5
    default_epochs: ClassVar[float] = 8
    needs_base: ClassVar[bool] = True
    """Whether it is of no use without pretrained weights."""

    head_learning_rate: float | None = None
    """Peak rate of the fresh head; null takes the rate of the other weights."""

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Make the right weights trainable; returns the model to train."""
        return model

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


def parameter_groups(
    model: "torch.nn.Module", heads: list[str], rate: float, head_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups of the trainable weights: head or not, decayed or not (biases and norms are not)."""
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            parts = name.split(".")
            groups.setdefault((any(head in parts for head in heads), weight.ndim > 1), []).append(weight)
    return [
        {
            "params": weights,
            "lr": head_rate if is_head else rate,
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (is_head, decayed), weights in sorted(groups.items(), key=lambda item: item[0])
    ]
