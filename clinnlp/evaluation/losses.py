"""What was lost on the way: missed gold spans, laid to the flat scheme, to alignment, to windows or to the model."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError, IntegrityError
from clinnlp.evaluation.pairing import pair

Ranges = Sequence[tuple[int, int]]
_Key = tuple[int, int, str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class Losses:
    """Gold spans: found, and missed by reason, the first that applies in this order.

    nested, overlapping, discontinuous: the flat scheme cannot hold them. untokenizable: no unit of the text lies in
    them; snapped: their bounds cut a unit or stand on blanks, so that the model can only return others. windows: not
    read. model: the rest. Raises IntegrityError unless they add up to the gold spans.
    """

    gold: int
    found: int
    nested: int = 0
    overlapping: int = 0
    discontinuous: int = 0
    untokenizable: int = 0
    snapped: int = 0
    windows: int = 0
    model: int = 0

    def __post_init__(self) -> None:
        explained = self.found + self.scheme + self.alignment + self.windows + self.model
        if explained != self.gold:
            raise IntegrityError(
                f"gold spans = {self.gold}, found or lost for a reason = {explained}",
                next="report this as a bug; these losses must not be used",
            )

    @property
    def scheme(self) -> int:
        return self.nested + self.overlapping + self.discontinuous

    @property
    def alignment(self) -> int:
        return self.untokenizable + self.snapped

    @property
    def recall_lost(self) -> dict[str, float]:
        """By where it was lost, in points of recall from 0 to 1; NaN without gold spans."""
        lost = {name: getattr(self, name) for name in ("scheme", "alignment", "windows", "model")}
        return {name: n / self.gold if self.gold else math.nan for name, n in lost.items()}

    def as_dict(self) -> dict[str, Any]:
        """Counts and points of recall, null without gold spans."""
        points = {name: None if math.isnan(value) else value for name, value in self.recall_lost.items()}
        return {**asdict(self), "recall_lost": points}


def losses(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    perfect: Iterable[Document],
    read: Sequence[Ranges] | None = None,
) -> Losses:
    """Lay each missed gold span to what lost it.

    `perfect` is what a model without a fault would return: the gold spans as tags and back (`spans_to_tags`, then
    `tags_to_spans`). A missed span that is among them was the model's to find.

    `read` holds the (start, end) characters that were read of each gold document; None stands for all of them, which
    is so by construction for models of clinnlp: the whole note is tokenized, each token is owned by exactly one window
    (core/window.py), and spans are decoded from the owned tokens of all windows joined. Raises DataError if the sides
    hold different documents.
    """
    golds = list(gold)
    if read is not None and len(read) != len(golds):
        raise DataError(f"characters read are given for {len(read)} documents, {len(golds)} are scored")
    pairs = zip(pair(golds, predicted), pair(golds, perfect), strict=True)
    counts: Counter[str] = Counter(found=0)
    for number, ((document, answer), (_, best)) in enumerate(pairs):
        counts.update(_outcomes(document, answer, best, None if read is None else read[number]))
    return Losses(gold=sum(len(document.spans) for document in golds), **counts)


def _outcomes(gold: Document, predicted: Document, perfect: Document, read: Ranges | None) -> Counter[str]:
    ours, theirs = (Counter(span.key for span in document.spans) for document in (gold, predicted))
    missed = ours - theirs
    outcomes = Counter(found=(ours & theirs).total())
    if not missed:
        return outcomes
    possible = Counter(span.key for span in perfect.spans)
    reasons = {} if ours == possible else _reasons(gold, perfect)
    for key, count in missed.items():
        # of copies the scheme holds one: it is found, or the model missed it
        held = min(count, max(0, possible[key] - (ours & theirs)[key]))
        inside = read is None or any(start <= key[0] and key[1] <= end for start, end in read)
        outcomes["model" if inside else "windows"] += held
        outcomes.update(reasons[key][: count - held] if count > held else ())
    return outcomes


def _reasons(gold: Document, perfect: Document) -> dict[_Key, list[str]]:
    """Why each copy of a gold span is not among the perfect ones, as `spans_to_tags` decides: the longest first."""
    kept = sorted(perfect.spans, key=lambda span: span.start)
    starts, ends = [span.start for span in kept], [span.end for span in kept]
    behind = list(zip(starts, ends, strict=True))  # the bounds of the gold span that each came from
    known = {span.key for span in gold.spans}
    grown = {place for place, span in enumerate(kept) if span.key not in known}
    reasons: dict[_Key, list[str]] = {span.key: [] for span in gold.spans}
    lost: list[tuple[int, int, slice, Span]] = []
    for start, end, span in sorted((_trimmed(gold.text, span) for span in gold.spans), key=_longest_first):
        # the kept spans that share characters with it; one that meets a single one is what that one grew from
        over = slice(bisect_right(ends, start), bisect_left(starts, end) if start < end else 0)
        place = over.start if over.stop - over.start == 1 else -1
        if span.fragments:
            reasons[span.key].append("discontinuous")
        elif place in grown and span.label == kept[place].label:
            reasons[span.key].append("snapped")
            behind[place] = (start, end)
            grown.discard(place)
        else:
            lost.append((start, end, over, span))
    for start, end, over, span in lost:
        within = any(a <= start and end <= b and (a, b) != (start, end) for a, b in behind[over])
        reasons[span.key].append("nested" if within else "overlapping" if behind[over] else "untokenizable")
    return reasons


def _trimmed(text: str, span: Span) -> tuple[int, int, Span]:
    """The bounds of a span without the blanks at its borders, and the span."""
    piece = text[span.start : span.end]
    end = span.start + len(piece.rstrip())
    return min(span.end - len(piece.lstrip()), end), end, span


def _longest_first(item: tuple[int, int, Span]) -> tuple[int, int]:
    return item[0] - item[1], item[0]
