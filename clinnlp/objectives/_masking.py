"""What masked-LM objectives share: draws, whole groups of tokens, the corruption, a head on masked positions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import CLOSED
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch

CHANCES = 2**16
MASKED, SWAPPED = round(0.8 * 2**32), round(0.9 * 2**32)  # fates below become the mask token, then another; others stay
ROUND = 64  # masked positions of a batch are filled up to a multiple of this

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What is random of some rows: `chances` decide what is hidden, `fates` what becomes of it; evenly spread, (B, S).

    Those of a row come from its generator alone: the rows beside it change nothing. Padding has the highest chance.
    """

    chances: NDArray[np.uint16]
    fates: NDArray[np.uint32]

    @classmethod
    def of(cls, rows: Rows, randoms: Iterable[np.random.Generator]) -> "Draws":
        chances = np.full(rows.ids.shape, CHANCES - 1, np.uint16)
        fates = np.zeros(rows.ids.shape, np.uint32)
        for row, (length, random) in enumerate(zip(rows.lengths.tolist(), randoms, strict=True)):
            raw: Any = random.bit_generator.random_raw  # ten times faster than small integers of Generator
            chances[row, :length] = raw(-(-length // 4)).view(np.uint16)[:length]
            fates[row, :length] = raw(-(-length // 2)).view(np.uint32)[:length]
        return cls(chances, fates)

    def below(self, share: float) -> Flags:
        """A share of the positions, picked one by one."""
        return self.chances < round(share * CHANCES)


def check_rates(rate: float, final_rate: float, most: float = 1.0) -> None:
    """Raise ConfigError unless both are shares of tokens, under 1 and at most `most`."""
    for name, value in (("rate", rate), ("final_rate", final_rate)):
        if not 0 < value < 1:
            raise ConfigError("must be a share between 0 and 1", where=f"objective.{name}")
        if value > most:
            raise ConfigError(f"must be at most {most}", where=f"objective.{name}")


def rate_at(rate: float, final_rate: float, progress: float) -> float:
    """The share of tokens to guess, which changes linearly as training goes on."""
    return rate + (final_rate - rate) * progress


def spread(chosen: Flags, begins: Flags) -> Flags:
    """Groups as a whole: what is chosen, and all that follows it up to the next position that begins a group."""
    hidden = chosen.ravel().copy()
    follows = np.append(~begins.ravel(), False)
    last = np.flatnonzero(hidden)
    while len(last):
        last = last + 1
        last = last[follows[last]]
        hidden[last] = True
    return hidden.reshape(chosen.shape)


def settled(rows: Rows, hidden: Flags, begins: Flags, draws: Draws) -> Flags:
    """What is hidden in the end: no frame, padding or placeholder; at least one group in each row that can have one."""
    able = rows.marks < CLOSED
    hidden = hidden & able
    for row in np.flatnonzero(~hidden.any(axis=1)):
        if len(places := np.flatnonzero(able[row])):
            group = np.cumsum(begins[row])
            least = places[np.argmin(draws.chances[row, places])]
            hidden[row] = able[row] & (group == group[least])
    return hidden


def corrupted(
    rows: Rows, hidden: Flags, fates: NDArray[np.uint32], tokenizer: NoteTokenizer
) -> dict[str, NDArray[Any]]:
    """The rows with tokens hidden, of which 80 % become the mask token, 10 % a random one, and 10 % stay.

    `labels` holds the hidden ids and -100 elsewhere. All arrays are (B, S).
    """
    if tokenizer.mask_id is None:
        raise ConfigError("the tokenizer has no mask token", where="base", next="choose a base made for masked LM")
    places = np.flatnonzero(hidden)
    ids, labels = rows.ids.copy(), np.full(rows.ids.shape, -100)
    flat = ids.ravel()
    labels.ravel()[places] = flat[places]
    fate = fates.ravel()[places]
    flat[places[fate < MASKED]] = tokenizer.mask_id
    swapped = (fate >= MASKED) & (fate < SWAPPED)
    share = fate[swapped].astype(np.int64) - MASKED
    flat[places[swapped]] = share * tokenizer.vocab_size // (SWAPPED - MASKED)
    return {"input_ids": ids, "labels": labels, "pieces": rows.pieces, "positions": rows.positions}


def show_masked_only(model: "torch.nn.Module") -> None:
    """Make the head see only the positions given as `masked` (flat indices into B * S); once is enough."""
    inner: Any = model
    if getattr(inner, "shows_masked_only", False):
        return
    inner.shows_masked_only = True
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


def masked_cross_entropy(model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
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
    return torch.div(total, torch.as_tensor(items).clamp(min=1))  # notes of placeholders alone have no targets
