"""Denoising through one vector a row."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import CLOSED, FRAME
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._sentences import hidden_size, row_vectors
from clinnlp.objectives.base import Objective

if TYPE_CHECKING:
    import torch

HEADS = 4  # of the decoder's attention


@dataclass(frozen=True)
class Tsdae(Objective):
    """Write a piece of a note from the one vector of what is left of it (after TSDAE, Wang et al. 2021).

    Tokens are deleted, the rest is read, and a decoder that sees the mean of its token vectors alone, and the tokens
    before, gives back every token. The paper's decoder is as deep as the encoder and tied to it; here it is one new
    layer over the encoder's word embeddings, the same for every architecture, taken off after training.

    When to use it: as `simcse`, for vectors of notes where there are no labels. What the evidence says: better than
    masked LM and SimCSE as unsupervised adaptation to a domain's sentences; none is known for entity extraction.
    """

    guesses_tokens: ClassVar[bool] = False

    deletion: float = 0.6
    """Share of the tokens that are deleted."""

    def __post_init__(self) -> None:
        if not 0 < self.deletion < 1:
            raise ConfigError("must be a share between 0 and 1", where="objective.deletion")

    def head(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """A decoder of one layer."""
        inner: Any = model
        return _decoder(inner.get_input_embeddings().weight.shape[1], hidden_size(model))

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """`input_ids`: what is left, with its frame; `whole` and `labels`: the rows as they were, to be given back."""
        kept: list[NDArray[np.bool_]] = []
        for row, random in enumerate(randoms):
            inside = (rows.marks[row] & FRAME) == 0
            chances = random.random(len(inside))
            stays = ~inside | (chances >= self.deletion)
            stays[np.argmax(np.where(inside, chances, -1.0))] = True  # one token at least
            kept.append(stays & (rows.pieces[row] >= 0))
        lengths = [int(stays.sum()) for stays in kept]
        ids = np.full((len(kept), max(lengths)), tokenizer.pad_id or 0, np.int64)
        pieces = np.full(ids.shape, -1, np.int64)
        for row, (stays, length) in enumerate(zip(kept, lengths, strict=True)):
            ids[row, :length], pieces[row, :length] = rows.ids[row, stays], 0
        labels = np.where(rows.marks < CLOSED, rows.ids, -100)
        positions = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
        return {"input_ids": ids, "pieces": pieces, "positions": positions, "whole": rows.ids, "labels": labels}

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of the tokens of the whole rows, over `items` tokens."""
        import torch
        from torch.nn.functional import cross_entropy

        from clinnlp.encode.packing import inner

        labels, whole = batch.pop("labels"), batch.pop("whole")
        vector = row_vectors(model, batch)
        table = inner(model).get_input_embeddings().weight
        states = self.head_of(model)(table[whole[:, :-1]].float(), vector)
        wanted = labels[:, 1:]
        told = wanted != -100  # (tokens, vocabulary) for these alone
        total = cross_entropy(states[told] @ table.float().T, wanted[told], reduction="sum")
        return torch.div(total, torch.as_tensor(items).clamp(min=1))


def _decoder(width: int, hidden: int) -> "torch.nn.Module":
    import torch
    from torch import nn

    class Decoder(nn.Module):
        """A transformer layer over the tokens before, beside the vector of the row."""

        def __init__(self) -> None:
            super().__init__()
            heads = next(heads for heads in (HEADS, 2, 1) if width % heads == 0)
            self.vector = nn.Linear(hidden, width)
            self.layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)

        def forward(self, tokens: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
            """(B, S, E) of the tokens before each place and (B, H) give (B, S, E)."""
            size = tokens.shape[1]
            later = torch.ones(size, size, dtype=torch.bool, device=tokens.device).triu(1)
            told = self.vector(vector)[:, None]
            states: torch.Tensor = self.layer(tokens + _waves(size, width).to(tokens.device), told, tgt_mask=later)
            return states

    return Decoder()


def _waves(size: int, width: int) -> "torch.Tensor":
    """Positions as sines and cosines (Vaswani et al. 2017), (S, E)."""
    import torch

    steps = torch.arange(size)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    waves = torch.stack([steps.sin(), steps.cos()], dim=2).reshape(size, -1)[:, :width]
    return torch.mul(waves, width**-0.5)
