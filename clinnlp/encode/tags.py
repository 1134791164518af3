"""Spans to BIO tags of units and back, with a ledger of what a flat scheme cannot hold; constrained decoding."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import Tokens, unit_ranges
from clinnlp.errors import DataError, IntegrityError

IGNORED = -100  # the tag of a token that is no unit: no loss, no prediction
REASONS = ("nested", "overlapping", "discontinuous", "untokenizable", "too long", "duplicate")
UNTOLD = "untold"  # in the meta of a document: stretches [start, end] of its text of which nothing is known
BATCH_CELLS = 4_000_000  # numbers a batch of Viterbi tables may hold

Tags = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Alignment:
    """What became of gold spans as tags: how many by (label, outcome); ledgers of documents add up.

    Outcomes are "exact", "snapped" (grown to unit borders) and the REASONS why a span has no tags.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __add__(self, other: "Alignment") -> "Alignment":
        return Alignment(Counter(self.counts) + Counter(other.counts))

    @property
    def exact(self) -> int:
        return self._count(("exact",))

    @property
    def snapped(self) -> int:
        return self._count(("snapped",))

    @property
    def unrepresentable(self) -> int:
        return self._count(REASONS)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """By label: exact, snapped, unrepresentable (by reason) and total."""
        return {
            label: {
                "exact": self._count(("exact",), label),
                "snapped": self._count(("snapped",), label),
                "unrepresentable": {reason: n for reason in REASONS if (n := self._count((reason,), label))},
                "total": sum(n for (name, _), n in self.counts.items() if name == label),
            }
            for label in sorted({label for label, _ in self.counts})
        }

    def table(self) -> str:
        """One line per label and one for all, for people."""
        rows: list[tuple[str, ...]] = [("label", "exact", "snapped", "unrepresentable", "total", "")]
        for label, row in self.as_dict().items():
            lost = row["unrepresentable"]
            why = ", ".join(f"{n} {reason}" for reason, n in lost.items())
            rows.append(
                (label, *(str(n) for n in (row["exact"], row["snapped"], sum(lost.values()), row["total"])), why)
            )
        rows.append(("all", *(str(n) for n in (self.exact, self.snapped, self.unrepresentable, self.total)), ""))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 5)), row[5]]).rstrip()
            for row in rows
        )

    def _count(self, outcomes: Iterable[str], label: str | None = None) -> int:
        return sum(n for (name, outcome), n in self.counts.items() if outcome in outcomes and label in (None, name))


def spans_to_tags(
    document: Document, tokens: Tokens, units: npt.NDArray[np.bool_], schema: LabelSchema
) -> tuple[Tags, Alignment]:
    """BIO tags (T,) of a document's spans, IGNORED at tokens that are no unit, and what became of each span.

    Spans that cut a unit grow to its borders. Where spans meet in a unit the longest keeps it (then the earlier,
    then the first in the schema). Raises DataError for a label outside the schema.
    """
    if schema.tag_count > np.iinfo(np.int16).max:
        raise DataError(f"{len(schema.labels)} labels are more than tags can number")
    ranges = unit_ranges(document.text, tokens, units)
    inside = np.zeros(len(ranges), dtype=np.int16)
    owner = np.full(len(ranges), -1, dtype=np.int64)
    counts: Counter[tuple[str, str]] = Counter()
    spans = [(*trimmed(document.text, span), schema.index(span.label), span) for span in document.spans]
    spans.sort(key=lambda item: (item[0] - item[1], item[0], item[2]))
    starts = np.array([item[0] for item in spans], dtype=np.int64)
    ends = np.array([item[1] for item in spans], dtype=np.int64)
    firsts = np.searchsorted(ranges[:, 1], starts, side="right")
    lasts = np.searchsorted(ranges[:, 0], ends, side="left")
    for number, (start, end, label, span) in enumerate(spans):
        first, last = firsts[number], lasts[number]
        if span.fragments:
            outcome = "discontinuous"
        elif start == end or first >= last:
            outcome = "untokenizable"
        elif (owner[first:last] >= 0).any():
            holders = [spans[i] for i in np.unique(owner[first:last]) if i >= 0]
            within = any(o[0] <= start and end <= o[1] and (start, end) != o[:2] for o in holders)
            outcome = "nested" if within else "overlapping"
        else:
            owner[first:last] = number
            inside[first:last] = 2 * label + 2
            inside[first] = 2 * label + 1
            outcome = "exact" if (start, end) == (ranges[first, 0], ranges[last - 1, 1]) else "snapped"
        counts[span.label, outcome] += 1
    tags = np.full(len(tokens), IGNORED, dtype=np.int16)
    tags[units] = inside
    return tags, Alignment(counts)


def forgotten(tags: Tags, tokens: Tokens, document: Document) -> Tags:
    """The tags (T,) with IGNORED at every token that reaches into a stretch of `document.meta["untold"]`.

    Raises DataError for stretches that are no pairs of numbers.
    """
    stretches = document.meta.get(UNTOLD)
    if not stretches:
        return tags
    try:
        pairs = [(int(start), int(end)) for start, end in stretches]
    except (TypeError, ValueError):
        raise DataError(
            f"the stretches of meta.{UNTOLD} are no pairs of numbers", next="give [[start, end], ...], or leave it out"
        ) from None
    kept = tags.copy()
    for start, end in pairs:
        kept[(tokens.offsets[:, 0] < end) & (tokens.offsets[:, 1] > start)] = IGNORED
    return kept


def carried(tags: Tags) -> Tags:
    """The tags (T,) with every IGNORED token inside what the unit before it is in; those before any unit stay."""
    places = np.maximum.accumulate(np.where(tags != IGNORED, np.arange(len(tags)), -1))
    carry = np.where(places >= 0, tags[places], IGNORED)
    inner = (tags == IGNORED) & (carry > 0)
    return np.asarray(carry + (inner & (carry % 2 == 1)), dtype=np.int16)  # a B goes on as its I


def tags_to_spans(
    text: str,
    tokens: Tokens,
    units: npt.NDArray[np.bool_],
    tags: npt.ArrayLike,
    schema: LabelSchema,
    scores: npt.ArrayLike | None = None,
) -> tuple[Span, ...]:
    """The spans that BIO tags mean, in text order, each with the mean of its units' scores.

    `tags` and `scores` are per unit (U,) or per token (T,). An I without its own B or I before it begins a span,
    as in conlleval. Raises IntegrityError if the lengths do not agree.
    """
    chosen = np.maximum(_of_units(tags, units), 0)
    chances = None if scores is None else _of_units(scores, units).astype(np.float64)
    ranges = unit_ranges(text, tokens, units)
    starts = ~_continues(chosen)
    borders = np.append(np.flatnonzero(starts), len(chosen))
    firsts = np.flatnonzero(starts & (chosen > 0))
    lasts = borders[np.searchsorted(borders, firsts, side="right")]
    return tuple(
        Span(
            int(ranges[first, 0]),
            int(ranges[last - 1, 1]),
            schema.labels[(chosen[first] - 1) // 2],
            None if chances is None else float(chances[first:last].mean()),
        )
        for first, last in zip(firsts, lasts, strict=True)
    )


def viterbi(logits: npt.ArrayLike, schema: LabelSchema) -> Tags:
    """The legal BIO tags (U,) with the highest sum of logits (U, C). Raises IntegrityError as `decode_many`."""
    return decode_many([logits], schema)[0]


def decode_many(logits: Sequence[npt.ArrayLike], schema: LabelSchema) -> list[Tags]:
    """For each sequence (U, C) the legal BIO tags (U,) with the highest sum of logits.

    Where the plain argmax is legal it is that; only the others are searched. Raises IntegrityError for
    NaN or infinite logits, or a wrong number of columns.
    """
    arrays = checked_logits(logits, schema)
    best: list[Tags] = [one.argmax(axis=1).astype(np.int16) for one in arrays]
    search = sorted((i for i, tags in enumerate(best) if not _legal(tags)), key=lambda i: len(arrays[i]))
    while search:
        longest, batch = len(arrays[search[-1]]), max(1, BATCH_CELLS // (len(arrays[search[-1]]) * schema.tag_count))
        search, chosen = search[:-batch], search[-batch:]
        padded = np.zeros((longest, len(chosen), schema.tag_count))
        for column, i in enumerate(chosen):
            one = arrays[i].astype(np.float64)
            padded[: len(one), column] = one - one.max(axis=1, keepdims=True)  # sums stay near 0, so exact
        for i, tags in zip(chosen, _search(padded, [len(arrays[i]) for i in chosen]), strict=True):
            best[i] = tags
    return best


def checked_logits(logits: Sequence[npt.ArrayLike], schema: LabelSchema) -> list[npt.NDArray[Any]]:
    """The logits (U, C) of each sequence. Raises IntegrityError for those that no tags can be read from."""
    arrays = [np.asarray(one) for one in logits]
    for one in arrays:
        if one.ndim != 2 or one.shape[1] != schema.tag_count:
            raise IntegrityError(f"logits of shape {one.shape} do not fit the schema's {schema.tag_count} tags")
        if not np.isfinite(one.max(axis=1)).all():  # NaN wins every max
            raise IntegrityError("NaN logits: the model's output is not a number", next="check the model's weights")
    return arrays


def confidence(logits: npt.ArrayLike, tags: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The softmax probability (U,) of each chosen tag (U,) under its logits (U, C)."""
    rows = np.asarray(logits, dtype=np.float64)
    if not len(rows):
        return np.zeros(0, dtype=np.float32)
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    chosen = odds[np.arange(len(rows)), np.asarray(tags, dtype=np.int64)]
    return np.asarray(chosen / odds.sum(axis=1), dtype=np.float32)


def _search(logits: npt.NDArray[np.float64], lengths: Sequence[int]) -> list[Tags]:
    """Viterbi over (U, N, C) padded logits in O(U*C) per sequence.

    O and B may follow anything, so they need only the best score so far; I-x needs only the best that is inside x.
    """
    size, count, _ = logits.shape
    outside, begin, inside = logits[:, :, 0], logits[:, :, 1::2], logits[:, :, 2::2]
    within = np.empty(begin.shape)  # the best score of a path whose last unit is inside label x
    best = np.empty((size, count))  # the best score of any path
    within[0] = begin[0]
    best[0] = np.maximum(outside[0], within[0].max(axis=1))
    grown = np.empty(begin.shape[1:])
    for t in range(1, size):
        before = best[t - 1]
        np.add(within[t - 1], inside[t], out=grown)
        np.add(begin[t], before[:, None], out=within[t])
        np.maximum(within[t], grown, out=within[t])
        np.maximum(before + outside[t], within[t].max(axis=1), out=best[t])
    before = np.concatenate([np.zeros((1, count)), best[:-1]])
    label = within.argmax(axis=2)
    label[before + outside >= best] = -1  # the best path is outside here
    begins = before[:, :, None] + begin >= within  # the best path inside x began here
    return [_backtrack(label[:n, i].tolist(), begins[:n, i]) for i, n in enumerate(lengths)]


def _backtrack(label: list[int], begins: npt.NDArray[np.bool_]) -> Tags:
    tags = np.zeros(len(label), dtype=np.int16)
    inside = -1
    for t in range(len(label) - 1, -1, -1):
        if inside < 0:
            inside = label[t]
        if inside >= 0:
            began = bool(begins[t, inside])
            tags[t] = 2 * inside + (1 if began else 2)
            inside = -1 if began else inside
    return tags


def _continues(tags: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which tags are an I after a B or I of the same label."""
    before = np.concatenate([np.zeros(1, dtype=tags.dtype), tags[:-1]])[: len(tags)]
    return np.asarray(_inside(tags) & ((before == tags) | (before == tags - 1)), dtype=np.bool_)


def _inside(tags: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((tags > 0) & (tags % 2 == 0), dtype=np.bool_)


def _legal(tags: Tags) -> bool:
    return bool((_inside(tags) == _continues(tags)).all())


def _of_units(values: npt.ArrayLike, units: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.shape == units.shape:
        return array[units]
    if array.shape != (int(units.sum()),):
        raise IntegrityError(f"{len(array)} tags or scores for {int(units.sum())} units of {len(units)} tokens")
    return array


def trimmed(text: str, span: Span) -> tuple[int, int]:
    """The span without the whitespace at its borders; empty if it holds nothing else."""
    piece = text[span.start : span.end]
    end = span.start + len(piece.rstrip())
    return min(span.end - len(piece.lstrip()), end), end
