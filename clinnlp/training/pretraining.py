"""Packed blocks as a training source, and the perplexity of a model on held-out ones."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from clinnlp.encode.packing import PackedBlocks, attention, inner
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives.base import Objective
from clinnlp.training.loader import Draw, generator

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
        indices = [draw.index for draw in examples]
        if self.objective.pairs == 2:
            indices += [self._other(draw) for draw in examples]
        rows, randoms = self.blocks.take(indices), generators(self.seed, examples)
        made = self.objective.corrupt(rows, self.tokenizer, examples[0].progress, randoms)
        return {name: torch.from_numpy(array) for name, array in made.items()}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """The objective's loss, the pieces of each row kept apart."""
        given = attention(model, batch.pop("pieces"), batch.pop("positions"), self.blocks.packed)
        return self.objective.loss(model, {**batch, **given}, items)

    def _other(self, draw: Draw) -> int:
        """The row beside that of a draw in a pair."""
        return int(generator(self.seed, draw.epoch, draw.index, 2).integers(len(self.blocks)))


class MixedSource:
    """Several objectives at once: the rows of the first in their order, and beside each one drawn for every other.

    The loss is the first one's and, times their weights, the means of the others over each batch.
    """

    def __init__(self, first: BlockSource, others: Sequence[tuple[float, BlockSource]]) -> None:
        self.first, self.others = first, others
        self.lengths = first.lengths

    def example(self, draw: Draw) -> Draw:
        """The draw itself."""
        return draw

    def collate(self, examples: Sequence[Draw]) -> dict[str, Any]:
        """A batch of each objective, under `parts`; `labels` are those of the first."""
        parts = [self.first.collate(examples)]
        for number, (_, source) in enumerate(self.others):
            parts.append(source.collate([self._beside(draw, number, source) for draw in examples]))
        return {"parts": parts, "labels": parts[0]["labels"]}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any], items: Any) -> torch.Tensor:
        """The first loss, and the others in the share that this batch has of the step."""
        parts: list[dict[str, torch.Tensor]] = [dict(part) for part in batch["parts"]]
        share = (batch["labels"] != -100).sum() / items
        total = self.first.loss(model, parts[0], items)
        for (weight, source), part in zip(self.others, parts[1:], strict=True):
            targets = (part["labels"] != -100).sum().clamp(min=1)
            total = total + weight * share * source.loss(model, part, targets)
        return total

    def _beside(self, draw: Draw, number: int, source: BlockSource) -> Draw:
        index = int(generator(source.seed, draw.epoch, draw.index, 3 + number).integers(len(source.lengths)))
        return Draw(draw.epoch, index, draw.progress)


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


def compile_encoder(model: torch.nn.Module, sources: Iterable[BlockSource]) -> None:
    """Compile the encoder in place, and let all rows of the sources be as wide as they can be: few shapes to compile.

    The head is left as it is, since the number of hidden tokens differs from batch to batch.
    """
    for source in sources:
        source.blocks.full = True
    inner(model).base_model.compile(dynamic=False)


@torch.inference_mode()
def mean_loss(model: torch.nn.Module, source: BlockSource, batch: int) -> tuple[float, int]:
    """Mean loss of held-out targets, and how many there are; what is hidden is the same at every call.

    Of a masked LM the rate is its final one, and exp(loss) is the perplexity.
    """
    total, count = 0.0, 0
    for given in _held_out(model, source, batch):
        targets = int((given["labels"] != -100).sum())
        total += float(source.loss(model, given, 1))
        count += targets
    return total / max(count, 1), count


@torch.inference_mode()
def accuracy(model: torch.nn.Module, source: BlockSource, batch: int) -> tuple[float, int]:
    """The share of held-out masked tokens that are the first guess of a masked LM, and how many there are."""
    right, count = 0, 0
    for given in _held_out(model, source, batch):
        labels = given.pop("labels").flatten()
        masked = (labels != -100).nonzero().squeeze(1)
        kept_apart = attention(model, given.pop("pieces"), given.pop("positions"), source.blocks.packed)
        guessed = model(**given, **kept_apart, masked=masked).logits.argmax(dim=-1)
        right += int((guessed == labels[masked]).sum())
        count += len(masked)
    return right / max(count, 1), count


def _held_out(model: torch.nn.Module, source: BlockSource, batch: int) -> Iterator[dict[str, torch.Tensor]]:
    """All batches of a source, longest rows first, on the device of a model that is set to answer."""
    device = next(model.parameters()).device
    model.eval()
    order = np.argsort(-source.lengths, kind="stable")
    for first in range(0, len(order), batch):
        draws = [Draw(FIXED_EPOCH, int(index), 1.0) for index in order[first : first + batch]]
        made = source.collate([source.example(draw) for draw in draws])
        yield {name: tensor.to(device) for name, tensor in made.items()}
