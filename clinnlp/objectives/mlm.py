"""Masked language modelling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinnlp.encode.packing import Block
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives.base import Objective

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

ROUND = 64  # masked positions of a batch are filled up to a multiple of this


@dataclass(frozen=True)
class Mlm(Objective):
    """Guess hidden tokens from both sides (Devlin et al. 2019), the masking rate falling as training goes on.

    When to use it: the default for continued pretraining. A linear fall from 30 to 15 % follows the dynamic
    rates of Ankner et al. 2024; of the chosen tokens 80 % become the mask token, 10 % a random one, and
    10 % stay. The head is applied to the masked positions only, which changes neither loss nor gradients.
    """

    rate: float = 0.30
    """Share of tokens to guess at the start of training."""
    final_rate: float = 0.15
    """Share of tokens to guess at the end; between the two it changes linearly."""

    def __post_init__(self) -> None:
        if not (0 < self.rate < 1 and 0 < self.final_rate < 1):
            raise ConfigError("must be a share between 0 and 1", where="objective.rate or objective.final_rate")

    def prepare(self, model: "torch.nn.Module") -> None:
        """Make the head see only the positions given as `masked` (flat indices into B * S)."""
        positions: list[torch.Tensor] = []

        def take(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            positions[:] = [kwargs.pop("masked")] if "masked" in kwargs else []
            return args, kwargs

        def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if not positions or args[0].dim() != 3:
                return None
            return (args[0].flatten(0, 1)[positions[0]], *args[1:])

        model.register_forward_pre_hook(take, with_kwargs=True)
        for child in model.children():
            if child is not model.base_model:
                child.register_forward_pre_hook(gather)

    def corrupt(
        self, block: Block, tokenizer: NoteTokenizer, progress: float, random: np.random.Generator
    ) -> "dict[str, NDArray[Any]]":
        """The block with tokens hidden; `labels` holds the hidden ids and -100 elsewhere; all (S,)."""
        rate = self.rate + (self.final_rate - self.rate) * progress
        draws = random.random((2, len(block.ids)), dtype=np.float32)
        chosen = (draws[0] < rate) & ~block.special
        if not chosen.any():
            chosen[int(np.argmin(np.where(block.special, np.inf, draws[0])))] = True
        if tokenizer.mask_id is None:
            raise ConfigError("the tokenizer has no mask token", where="base", next="choose a base made for masked LM")
        ids = block.ids.copy()
        ids[chosen & (draws[1] < 0.8)] = tokenizer.mask_id
        swapped = np.flatnonzero(chosen & (draws[1] >= 0.8) & (draws[1] < 0.9))
        ids[swapped] = random.integers(0, tokenizer.vocab_size, len(swapped))
        labels = np.where(chosen, block.ids, -100)
        return {"input_ids": ids, "labels": labels, "pieces": block.pieces, "positions": block.positions}

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy over `items` masked tokens; `batch` holds input_ids, labels (B, S) and attention."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch.pop("labels").flatten()
        masked = (labels != -100).nonzero().squeeze(1)
        # filled up to a round number with a position that has no label: few shapes, so that memory is reused
        spare = (labels == -100).nonzero()[:1, 0].expand(-len(masked) % ROUND)
        masked = torch.cat([masked, spare])
        logits = model(**batch, masked=masked).logits  # (masked, vocabulary)
        total = cross_entropy(logits.float(), labels[masked], reduction="sum", ignore_index=-100)
        return torch.div(total, items)
