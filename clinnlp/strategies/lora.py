"""Low-rank adapters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Lora(Strategy):
    """Low-rank updates of every linear layer of the encoder, and a full head (Hu et al. 2022).

    It reaches full fine-tuning only with all linear layers adapted, about ten times its learning rate and a
    longer schedule; compare the two at their own tuned rates, never at equal ones.
    """

    default_learning_rate: ClassVar[float] = 5e-4
    default_epochs: ClassVar[float] = 20

    rank: int = 16
    """Rank of each update."""
    alpha: int = 32
    """Scale of the updates: they are multiplied by alpha / rank (alpha / sqrt(rank) with rank-stabilised LoRA)."""
    dropout: float = 0.05
    """Dropout on the adapter's input."""
    rslora: bool | None = None
    """Rank-stabilised scaling (Kalajdzievski 2023); null turns it on from rank 32."""
    merge: bool = False
    """Save the adapter merged into its base: a full model folder that needs no base beside it."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("must be 1 or more", where="strategy.rank")

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Wrap the model with peft: encoder linears adapted, every head trained in full and saved."""
        from peft import LoraConfig, get_peft_model

        inner: Any = model
        heads = head_names(inner)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.rank >= 32 if self.rslora is None else self.rslora,
            # no task type: peft would look for the head itself, and fail for token classification
            target_modules="all-linear",
            exclude_modules=rf"^(.*\.)?({'|'.join(heads)})(\..*)?$" if heads else None,
            modules_to_save=heads,
        )
        wrapped: Any = get_peft_model(inner, config)
        found = wrapped.peft_config["default"]
        found.target_modules = sorted(found.target_modules)  # a set is written in another order by every process
        adapted: torch.nn.Module = wrapped
        return adapted

    def finish(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """The adapter, or with `merge` the full model."""
        inner: Any = model
        merged: torch.nn.Module = inner.merge_and_unload() if self.merge else inner
        return merged
