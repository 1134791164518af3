"""Spans as pairs of words: which pair each is, which window owns it, and how a head scores all pairs at once."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import Alignment, trimmed
from clinnlp.encode.tokens import Tokens, unit_ranges

if TYPE_CHECKING:
    import torch

PRIOR = -6.0  # log-odds of any span before anything is learned: few of thousands of pairs are one

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def spans_to_pairs(
    document: Document, tokens: Tokens, units: Bools, schema: LabelSchema, longest: int, reachable: Bools
) -> tuple[Ints, Alignment]:
    """The spans of a document as (N, 3): first unit, further units, label; and what became of each.

    Spans that cut a unit grow to its borders. One of more than `longest` units, or one whose pair no window holds
    (`reachable`, (U, longest)), is too long; of equal ones the first is kept. Raises DataError for a label outside
    the schema.
    """
    ranges = unit_ranges(document.text, tokens, units)
    counts: Counter[tuple[str, str]] = Counter()
    pairs: dict[tuple[int, int, int], None] = {}
    for span in document.spans:
        label = schema.index(span.label)
        start, end = trimmed(document.text, span)
        first = int(np.searchsorted(ranges[:, 1], start, side="right"))
        last = int(np.searchsorted(ranges[:, 0], end, side="left")) - 1
        pair = (first, last - first, label)
        if span.fragments:
            outcome = "discontinuous"
        elif start == end or first > last:
            outcome = "untokenizable"
        elif last - first >= longest or not reachable[first, last - first]:
            outcome = "too long"
        elif pair in pairs:
            outcome = "duplicate"
        else:
            pairs[pair] = None
            outcome = "exact" if (start, end) == (ranges[first, 0], ranges[last, 1]) else "snapped"
        counts[span.label, outcome] += 1
    return np.array(list(pairs), np.int64).reshape(-1, 3), Alignment(counts)


def owned_pairs(places: Ints, own_first: int, own_last: int, longest: int) -> Bools:
    """Which pairs of the units of a window, (U, longest), it owns: those whose middle token it owns.

    `places` (U,) are the first tokens of its units. Windows are of one length and borders lie in the middle of what
    two share, so that no other window holds more context of a pair on its shorter side, and each is owned once.
    """
    if not len(places):
        return np.zeros((0, longest), np.bool_)
    ends = np.arange(len(places))[:, None] + np.arange(longest)[None, :]
    inside = ends < len(places)
    middle = (places[:, None] + places[np.minimum(ends, len(places) - 1)]) // 2
    return np.asarray(inside & (middle >= own_first) & (middle < own_last), np.bool_)


def pair_scores(vectors: "torch.Tensor", size: int, longest: int) -> "torch.Tensor":
    """The log-odds (R, U, longest, L) of all spans that begin at a unit and go on for 0 to longest - 1 more.

    `vectors` (R, U, 2 size + 2 L) hold of each unit: how it begins a span, how it ends one, and the log-odds of each
    label as first and as last unit. Beginning and end meet in a product that knows how far they are apart by
    rotation. Pairs that end behind the last unit have scores without meaning.
    """
    import torch

    with torch.autocast(vectors.device.type, enabled=False):
        given = vectors.float()
        count, labels = given.shape[1], (given.shape[2] - 2 * size) // 2
        begin, end, first, last = torch.split(given, [size, size, labels, labels], dim=2)
        met = _rotated(begin) @ _rotated(end).transpose(1, 2) / size**0.5  # (R, U, U)
        step = torch.arange(count, device=given.device)
        ends = (step[:, None] + torch.arange(longest, device=given.device)).clamp(max=max(count - 1, 0))
        met = met.gather(2, ends.expand(len(given), -1, -1))
        scores: torch.Tensor = PRIOR + met[..., None] + first[:, :, None] + last[:, ends]
        return scores


def _rotated(vectors: "torch.Tensor") -> "torch.Tensor":
    """Vectors (R, U, D) turned by their place (Su et al. 2021), so that products depend on how far two are apart."""
    import torch

    _, count, size = vectors.shape
    place = torch.arange(count, device=vectors.device)[:, None]
    speed = 10_000.0 ** (-torch.arange(size // 2, device=vectors.device) * 2 / size)
    sin, cos = torch.sin(place * speed), torch.cos(place * speed)
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=2)
