"""What objectives of pairs share: a row cut in two, two stretches framed as a pair, and the head that judges it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import LINE, WORD
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives._sentences import hidden_size, token_vectors

if TYPE_CHECKING:
    import torch

Ids = NDArray[np.int64]
Pair = tuple[Ids, Ids]


def halves(rows: Rows, row: int, tokenizer: NoteTokenizer, random: np.random.Generator) -> Pair | None:
    """The tokens of a row before and after a place drawn among the beginnings of sentences, else of words.

    None if there is none such.
    """
    first, last = len(tokenizer.prefix), int(rows.lengths[row]) - len(tokenizer.suffix)
    marks = rows.marks[row, first + 1 : last]
    for mark in (LINE, WORD):
        if len(places := np.flatnonzero(marks & mark)):
            cut = first + 1 + int(random.choice(places))
            return rows.ids[row, first:cut], rows.ids[row, cut:last]
    return None


def paired(pairs: Sequence[Pair | None], labels: Sequence[int], tokenizer: NoteTokenizer) -> dict[str, NDArray[Any]]:
    """Pairs framed as [CLS] a [SEP] b [SEP], (B, S), and their labels, (B,).

    What could not be cut has no label and is a row of its frame alone.
    """
    nothing = np.zeros(0, np.int64)
    frame, end = list(tokenizer.prefix), list(tokenizer.suffix)
    rows = [[*frame, *a, *end, *b, *end] for a, b in (pair or (nothing, nothing) for pair in pairs)]
    firsts = [len(frame) + len(pair[0] if pair else nothing) + len(end) for pair in pairs]
    size = max(map(len, rows))
    ids = np.full((len(rows), size), tokenizer.pad_id or 0, np.int64)
    pieces, types = np.full(ids.shape, -1, np.int64), np.zeros(ids.shape, np.int64)
    for number, (row, first) in enumerate(zip(rows, firsts, strict=True)):
        ids[number, : len(row)] = row
        pieces[number, : len(row)] = 0
        types[number, first : len(row)] = 1
    positions = np.tile(np.arange(size), (len(rows), 1))
    told = np.array([label if pair else -100 for pair, label in zip(pairs, labels, strict=True)])
    return {"input_ids": ids, "pieces": pieces, "positions": positions, "token_type_ids": types, "labels": told}


def judge(model: "torch.nn.Module") -> "torch.nn.Module":
    """A head over the first token, as BERT's pooler: one layer with tanh, and two answers."""
    from torch import nn

    width = hidden_size(model)
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))


def judged(model: "torch.nn.Module", head: Any, batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
    """Summed cross-entropy of a judge's answers over `items`."""
    import torch
    from torch.nn.functional import cross_entropy

    from clinnlp.encode.packing import inner

    labels = batch.pop("labels")
    types = batch.pop("token_type_ids")
    if int(getattr(inner(model).config, "type_vocab_size", 0)) > 1:  # RoBERTa and its kin know one type
        batch["token_type_ids"] = types
    logits = head(token_vectors(model, batch)[:, 0])
    total = cross_entropy(logits.float(), labels, reduction="sum", ignore_index=-100)
    return torch.div(total, torch.as_tensor(items).clamp(min=1))
