"""Low-rank adapters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, layer_count, levels

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
    layers: Literal["all", "top_half"] | int = "all"
    """Layers that are adapted: all, the upper half, or so many from the top (4)."""
    b_rate: float = 1.0
    """Rate of the matrices B as a multiple of that of A: LoRA+ with 16 (Hayou et al. 2024)."""
    dora: bool = False
    """Learn the length of each weight apart from its direction (DoRA, Liu et al. 2024); slower."""
    pissa: bool = False
    """Begin with the largest singular directions of each weight (Meng et al. 2024); needs `merge`."""
    merge: bool = False
    """Save the adapter merged into its base: a full model folder that needs no base beside it."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("must be 1 or more", where="strategy.rank")
        if self.b_rate <= 0:
            raise ConfigError("must be more than 0", where="strategy.b_rate")
        if isinstance(self.layers, int) and self.layers < 1:
            raise ConfigError("must be all, top_half, or 1 or more", where="strategy.layers")
        if self.pissa and not self.merge:
            raise ConfigError(
                "PiSSA takes its directions out of the base, so that the adapter is wrong on the base as it was",
                where="strategy.pissa",
                next="add --strategy.merge true",
            )

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Wrap the model with peft: encoder linears adapted, every head trained in full and saved.

        Raises ConfigError if the base has fewer layers than are to be adapted.
        """
        return self.adapt(model, head_names(model))

    def adapt(self, model: "torch.nn.Module", saved: list[str], tokens: Sequence[int] = ()) -> "torch.nn.Module":
        """As `apply`, but of the heads only those `saved` are trained and kept with the adapter.

        Of the embeddings the rows of `tokens` are trained, as they are for new entries of the vocabulary.
        """
        from peft import LoraConfig, get_peft_model

        inner: Any = model
        heads = head_names(inner)
        everywhere = self.layers == "all"
        rows = {_embeddings(inner): [*tokens]} if tokens else None
        config = LoraConfig(
            trainable_token_indices=rows,
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.rank >= 32 if self.rslora is None else self.rslora,
            use_dora=self.dora,
            init_lora_weights="pissa" if self.pissa else True,
            # no task type: peft would look for the head itself, and fail for token classification
            target_modules="all-linear" if everywhere else self._upper(inner, heads),
            exclude_modules=rf"^(.*\.)?({'|'.join(heads)})(\..*)?$" if heads and everywhere else None,
            modules_to_save=saved or None,
        )
        wrapped: Any = get_peft_model(inner, config)
        found = wrapped.peft_config["default"]
        found.target_modules = sorted(found.target_modules)  # a set is written in another order by every process
        adapted: torch.nn.Module = wrapped
        return adapted

    def rate_of(self, name: str) -> float:
        """LoRA+: B may be faster than A."""
        return self.b_rate if ".lora_B." in name else 1.0

    def finish(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """The adapter, or with `merge` the full model."""
        inner: Any = model
        merged: torch.nn.Module = inner.merge_and_unload() if self.merge else inner
        return merged

    def _upper(self, model: Any, heads: list[str]) -> list[str]:
        """The names of the linear layers in the upper layers."""
        from torch.nn import Linear

        places = levels(model, heads)
        count = layer_count(places, "strategy.layers")
        wanted = (count + 1) // 2 if isinstance(self.layers, str) else self.layers
        if wanted > count:
            raise ConfigError(
                f"the base has {count} layers, not {wanted}",
                where="strategy.layers",
                next=f"choose 1 to {count}, or all",
            )
        upper = {name for name, level in places.items() if count - wanted < level <= count}
        linears = [name for name, module in model.named_modules() if isinstance(module, Linear)]
        return [name for name in linears if f"{name}.weight" in upper]


def _embeddings(model: Any) -> str:
    """The name of the module that holds the rows of the vocabulary."""
    held = model.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is held)
