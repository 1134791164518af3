"""What a masked LM answers, note by note and secret by secret: what attacks on its training notes start from."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from clinnlp.core.document import Document
from clinnlp.encode.packing import PackedBlocks, TokenStore, pad_rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives.mlm import Mlm
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import FIXED_EPOCH, BlockSource

log = logging.getLogger("clinnlp")

SECONDS = 30  # between lines of progress
ROUND = 64  # masked positions of a batch are filled up to a multiple of this, so that memory is reused


def masked_notes(notes: Iterable[Document], tokenizer: NoteTokenizer, size: int, seed: int) -> BlockSource:
    """Notes in rows of at most `size` tokens, one piece a row, masked as held-out notes of a pretraining are."""
    objective = Mlm()
    store = TokenStore.of(tokenizer, map(objective.mark, notes))
    return BlockSource(PackedBlocks(store, tokenizer, size, pack=False), objective, tokenizer, seed)


def note_losses(
    model: torch.nn.Module, source: BlockSource, draws: int, batch: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean loss of a masked token of each note of a store (NaN without any), and how many were masked; (N,) both.

    Masks are drawn `draws` times and are the same at every call, for every model with this tokenizer. The source must
    not be packed and the model prepared by its objective.
    """
    bounds = source.blocks.store.bounds
    note_of = source.blocks.notes
    sums, counts = np.zeros(len(bounds) - 1), np.zeros(len(bounds) - 1, np.int64)
    order = np.argsort(-source.lengths, kind="stable")
    told = time.monotonic()
    for first in range(0, len(order), batch):
        some = order[first : first + batch]
        if time.monotonic() - told > SECONDS:
            told = time.monotonic()
            log.info("asked %d of %d rows", first, len(order))
        for epoch in range(FIXED_EPOCH, FIXED_EPOCH + draws):
            given = source.collate([Draw(epoch, int(index), 1.0) for index in some])
            labels = given.pop("labels")
            rows, places = (labels != -100).nonzero(as_tuple=True)
            inputs = {"input_ids": given["input_ids"], "attention_mask": (given["pieces"] >= 0).long()}
            losses = _losses(model, inputs, rows * labels.shape[1] + places, labels[rows, places])
            notes = note_of[some][rows.numpy()]
            np.add.at(sums, notes, losses)
            np.add.at(counts, notes, 1)
    with np.errstate(invalid="ignore"):
        return sums / counts, counts


def secret_scores(
    model: torch.nn.Module, tokenizer: NoteTokenizer, texts: Sequence[str], start: int, batch: int
) -> NDArray[np.float64]:
    """The pseudo-log-likelihood (Salazar et al. 2020) of what stands in each text from `start` to its last character.

    Each token of the stretch that is not blank is masked in turn and guessed from all others; sums, (N,), in nats.
    """
    if tokenizer.mask_id is None:
        raise ConfigError("the tokenizer has no mask token", where="model", next="choose one made for masked LM")
    rows: list[NDArray[np.int32]] = []
    places: list[int] = []
    owners: list[int] = []
    for number, (text, tokens) in enumerate(zip(texts, tokenizer.encode_many(texts), strict=True)):
        row = tokenizer.wrap(tokens.ids)
        starts, ends = tokens.offsets[:, 0], tokens.offsets[:, 1]
        inside = (ends > starts) & (ends > start) & (starts < len(text) - 1)
        for place in np.flatnonzero(inside) + len(tokenizer.prefix):
            rows.append(row)
            places.append(int(place))
            owners.append(number)
    scores = np.zeros(len(texts))
    for first in range(0, len(rows), batch):
        some = slice(first, first + batch)
        ids = torch.from_numpy(pad_rows(rows[some], tokenizer.pad_id or 0))
        lengths = torch.tensor([len(row) for row in rows[some]])
        at = torch.tensor(places[some])
        each = torch.arange(len(at))
        targets = ids[each, at]
        ids[each, at] = tokenizer.mask_id
        seen = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        losses = _losses(model, {"input_ids": ids, "attention_mask": seen}, each * ids.shape[1] + at, targets)
        np.add.at(scores, owners[some], -losses)
    return scores


def _losses(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], masked: torch.Tensor, targets: torch.Tensor
) -> NDArray[np.float64]:
    """The cross-entropy at each of the flat positions `masked (M,)`, whose tokens are `targets (M,)`."""
    if not len(masked):
        return np.zeros(0)
    device = next(model.parameters()).device
    filled = torch.cat([masked, masked[:1].expand(-len(masked) % ROUND)])
    given: dict[str, Any] = {name: tensor.to(device) for name, tensor in inputs.items()}
    with torch.inference_mode():
        logits = model(**given, masked=filled.to(device)).logits[: len(masked)].float()
        losses: NDArray[np.float64] = cross_entropy(logits, targets.to(device), reduction="none").double().cpu().numpy()
    return losses
