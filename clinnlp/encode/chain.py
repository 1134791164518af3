"""A linear-chain conditional random field over BIO tags (Lafferty et al. 2001): its loss, best tags and their chances.

A transition is the score of a tag after another; those that BIO forbids are never taken.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import BATCH_CELLS, Tags, checked_logits

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


def legal_pairs(tags: int) -> npt.NDArray[np.bool_]:
    """Which of so many BIO tags may stand after which, (C, C): the tag before by row, the one after it by column."""
    before, after = np.arange(tags)[:, None], np.arange(tags)[None, :]
    begins = (after == 0) | (after % 2 == 1)
    return np.asarray(begins | (before == after) | (before == after - 1), np.bool_)


def chain_loss(
    logits: "torch.Tensor", tags: "torch.Tensor", transitions: "torch.Tensor", legal: "torch.Tensor"
) -> "torch.Tensor":
    """Summed negative log-likelihood of sequences of tags (R, U) under logits (R, U, C); float32.

    Sequences are filled up with -100 behind their tags. Any tag may begin one, since a window may begin within an
    entity. `transitions` and `legal` are (C, C); O(U C^2) a sequence.
    """
    import torch

    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        scores = transitions.float().masked_fill(~legal, -torch.inf)
        there = tags >= 0
        known = tags.clamp(min=0)
        gold = (logits.gather(2, known[..., None])[..., 0] * there).sum()
        pairs = scores[known[:, :-1], known[:, 1:]]
        gold = gold + torch.where(there[:, 1:], pairs, 0.0).sum()
        odds = scores.exp()
        sums = logits[:, 0]  # (R, C): log of the summed odds of all ways to a tag
        for step in range(1, logits.shape[1]):
            highest = sums.max(dim=1, keepdim=True).values.detach()
            ways = ((sums - highest).exp() @ odds).clamp(min=torch.finfo(torch.float32).tiny)
            sums = torch.where(there[:, step, None], ways.log() + highest + logits[:, step], sums)
        return torch.where(there[:, 0], sums.logsumexp(dim=1), 0.0).sum() - gold


def decode_chain(logits: Sequence[npt.ArrayLike], transitions: npt.ArrayLike, schema: LabelSchema) -> list[Tags]:
    """For each sequence (U, C) the legal tags (U,) with the highest sum of logits and transitions (Viterbi 1967).

    Raises IntegrityError as `decode_many`.
    """
    scores = _scores(transitions, schema)
    best: list[Tags] = [np.zeros(0, np.int16)] * len(logits)
    for chosen, padded, lengths in _batches(logits, schema):
        ways = np.zeros(padded.shape, np.int16)  # the tag before on the best path to each tag
        sums = padded[0]
        last = sums.copy()  # at the last unit of each sequence
        for step in range(1, len(padded)):
            paths = sums[:, :, None] + scores
            ways[step] = paths.argmax(axis=1)
            sums = paths.max(axis=1) + padded[step]
            last[lengths == step + 1] = sums[lengths == step + 1]
        for column, number in enumerate(chosen):
            tags = np.zeros(lengths[column], np.int16)
            tags[-1] = last[column].argmax()
            for step in range(len(tags) - 1, 0, -1):
                tags[step - 1] = ways[step, column, tags[step]]
            best[number] = tags
    return best


def chain_confidence(
    logits: Sequence[npt.ArrayLike], tags: Sequence[Tags], transitions: npt.ArrayLike, schema: LabelSchema
) -> list[npt.NDArray[np.float32]]:
    """The probability (U,) of each chosen tag of each sequence, over all legal sequences (forward-backward)."""
    odds = np.exp(_scores(transitions, schema))
    found = [np.zeros(0, np.float32)] * len(logits)
    for chosen, padded, lengths in _batches(logits, schema):
        seen = np.exp(padded)  # the highest of each unit is 1
        ahead, behind = np.empty(padded.shape), np.ones(padded.shape)
        ahead[0] = _normed(seen[0])
        for step in range(1, len(padded)):
            ahead[step] = _normed((ahead[step - 1] @ odds) * seen[step])
        for step in range(len(padded) - 2, -1, -1):
            goes_on = (lengths > step + 1)[:, None]
            behind[step] = np.where(goes_on, _normed((seen[step + 1] * behind[step + 1]) @ odds.T), 1.0)
        for column, number in enumerate(chosen):
            both = _normed(ahead[: lengths[column], column] * behind[: lengths[column], column])
            found[number] = both[np.arange(lengths[column]), tags[number]].astype(np.float32)
    return found


def _scores(transitions: npt.ArrayLike, schema: LabelSchema) -> Floats:
    return np.where(legal_pairs(schema.tag_count), np.asarray(transitions, np.float64), -np.inf)


def _batches(
    logits: Sequence[npt.ArrayLike], schema: LabelSchema
) -> Iterator[tuple[list[int], Floats, npt.NDArray[np.int64]]]:
    """Numbers of sequences of like length, their logits (U, N, C) with the highest of each unit 0, and their lengths.

    No sequence begins inside an entity.
    """
    arrays = checked_logits(logits, schema)
    left = sorted((i for i, one in enumerate(arrays) if len(one)), key=lambda i: len(arrays[i]))
    inner = np.arange(schema.tag_count) % 2 == 0
    inner[0] = False
    while left:
        size = max(1, BATCH_CELLS // (len(arrays[left[-1]]) * schema.tag_count + schema.tag_count**2))
        left, chosen = left[:-size], left[-size:]
        padded = np.zeros((len(arrays[chosen[-1]]), len(chosen), schema.tag_count))
        for column, i in enumerate(chosen):
            one = arrays[i].astype(np.float64)
            one[0, inner] = -np.inf
            padded[: len(one), column] = one - one.max(axis=1, keepdims=True)
        yield chosen, padded, np.array([len(arrays[i]) for i in chosen])


def _normed(values: Any) -> Any:
    return values / np.maximum(values.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
