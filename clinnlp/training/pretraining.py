"""Packed blocks as a training source, and the perplexity of a model on held-out ones."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from clinnlp.encode.packing import PackedBlocks, attention
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives.base import Objective
from clinnlp.training.loader import Draw

FIXED_EPOCH = 2**31  # the epoch number of held-out masks: no training epoch reaches it
KEY = 0x6D61736B  # the second half of the generator's key: masks have a sequence of their own


class BlockSource:
    """Blocks corrupted by an objective: what is hidden depends on (seed, epoch, block, progress) alone."""

    def __init__(self, blocks: PackedBlocks, objective: Objective, tokenizer: NoteTokenizer, seed: int) -> None:
        self.blocks, self.objective, self.tokenizer, self.seed = blocks, objective, tokenizer, seed
        self.lengths = blocks.lengths

    def example(self, draw: Draw) -> Draw:
        """The draw itself: blocks are built and corrupted a batch at a time."""
        return draw

    def collate(self, examples: Sequence[Draw]) -> dict[str, torch.Tensor]:
        """Blocks as they are seen in an epoch, side by side, padded: (B, S)."""
        rows = self.blocks.take([draw.index for draw in examples])
        made = self.objective.corrupt(rows, self.tokenizer, examples[0].progress, generators(self.seed, examples))
        return {name: torch.from_numpy(array) for name, array in made.items()}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """The objective's loss, the pieces of each row kept apart."""
        given = attention(model, batch.pop("pieces"), batch.pop("positions"), self.blocks.packed)
        return self.objective.loss(model, {**batch, **given}, items)


def generators(seed: int, draws: Iterable[Draw]) -> Iterator[np.random.Generator]:
    """The generator (Philox, Salmon et al. 2011) of each draw in turn, to be used before the next is taken.

    It is one that is put to the place of (epoch, block) in its sequence: a new one costs more than masking a row.
    """
    philox = np.random.Philox(key=[seed, KEY])
    random, state = np.random.Generator(philox), philox.state
    for draw in draws:
        state["state"]["counter"][2:] = draw.index, draw.epoch  # the first two count the numbers drawn
        philox.state = state
        yield random


def can_pack(model: torch.nn.Module, tokenizer: NoteTokenizer, size: int) -> bool:
    """Whether a packed row gives `model` the same logits as its pieces one by one, by trying it.

    Architectures without position ids or with their own reading of a 4-D mask (DeBERTa) fail, and are
    trained without packing.
    """
    random = np.random.default_rng(0)
    lengths = [max(size // 2 - tokenizer.specials, 1), max(size // 4 - tokenizer.specials, 1)]
    rows = [tokenizer.wrap(random.integers(0, tokenizer.vocab_size, length)) for length in lengths]
    pieces = np.concatenate([np.full(len(row), number) for number, row in enumerate(rows)])
    positions = np.concatenate([np.arange(len(row)) for row in rows])
    device = next(model.parameters()).device

    def tensor(array: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, dtype=np.int64))[None].to(device)

    model.eval()
    with torch.inference_mode():
        alone = [model(input_ids=tensor(row), attention_mask=torch.ones_like(tensor(row))).logits[0] for row in rows]
        try:
            given = attention(model, tensor(pieces), tensor(positions), packed=True)
            together = model(input_ids=tensor(np.concatenate(rows)), **given).logits[0]
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
    return bool(torch.allclose(torch.cat(alone), together, atol=1e-3, rtol=1e-3))


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Set every dropout layer to `share`; the model's config keeps its own for fine-tuning."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


def masked_loss(model: torch.nn.Module, source: BlockSource, batch: int) -> tuple[float, int]:
    """Mean loss of held-out masked tokens, and how many there are; the masks are the same at every call.

    The masking rate is the objective's final one. exp(loss) is the masked-LM perplexity.
    """
    device = next(model.parameters()).device
    total, count = 0.0, 0
    model.eval()
    order = np.argsort(-source.lengths, kind="stable")
    with torch.inference_mode():
        for first in range(0, len(order), batch):
            draws = [Draw(FIXED_EPOCH, int(index), 1.0) for index in order[first : first + batch]]
            examples = source.collate([source.example(draw) for draw in draws])
            given = {name: tensor.to(device) for name, tensor in examples.items()}
            targets = int((given["labels"] != -100).sum())
            total += float(source.loss(model, given, 1))
            count += targets
    return total / max(count, 1), count
