"""Why spans do not match: each gold and predicted span without a strict match has exactly one kind of error."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from clinnlp.core.document import Span
from clinnlp.errors import IntegrityError
from clinnlp.evaluation.pairing import Pair

KINDS = ("missed", "spurious", "boundary", "type", "boundary+type", "split", "merged")

_Edge = tuple[int, int]  # places of a gold and a predicted span that share characters
_Star = tuple[list[int], list[int]]  # places of the gold and predicted spans of one error


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One error: the gold and predicted spans that belong together, and `document`, its place in the pairs."""

    document: int
    kind: str
    gold: tuple[Span, ...]
    predicted: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Disagreements:
    """All errors, and the gold spans that were found, with the place of their document.

    Raises IntegrityError unless every span of both sides is either matched or in one error.
    """

    records: tuple[Disagreement, ...]
    matched: tuple[tuple[int, Span], ...]
    gold: int
    predicted: int

    def __post_init__(self) -> None:
        for name, total, wrong in (
            ("gold", self.gold, sum(len(record.gold) for record in self.records)),
            ("predicted", self.predicted, sum(len(record.predicted) for record in self.records)),
        ):
            if total != len(self.matched) + wrong:
                raise IntegrityError(
                    f"{name} spans = {total}, matched = {len(self.matched)}, in errors = {wrong}",
                    next="report this as a bug; this error analysis must not be used",
                )

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """By kind: errors, and the gold and predicted spans in them."""
        totals = {kind: {"errors": 0, "gold": 0, "predicted": 0} for kind in KINDS}
        for record in self.records:
            row = totals[record.kind]
            row["errors"] += 1
            row["gold"] += len(record.gold)
            row["predicted"] += len(record.predicted)
        return totals


def find_disagreements(pairs: Sequence[Pair]) -> Disagreements:
    """Explain every span that has no strict match, whatever the order of documents and spans.

    Kinds, the first that fits: type (same bounds, other label); boundary (same label, overlaps, other bounds), which
    is split where further predicted spans of the label lie on the gold span and merged where further gold spans lie
    under the predicted one; boundary+type (overlaps, other label); missed and spurious (nothing left that overlaps).
    """
    records: list[Disagreement] = []
    matched: list[tuple[int, Span]] = []
    for row, (gold, predicted) in enumerate(pairs):
        found = Counter(s.key for s in gold.spans) & Counter(s.key for s in predicted.spans)
        both = _take(gold.spans, Counter(found)), _take(predicted.spans, Counter(found))
        matched += [(row, span) for span in both[0][0]]
        if both[0][1] or both[1][1]:
            errors = [Disagreement(row, *error) for error in _explain(both[0][1], both[1][1])]
            records += sorted(errors, key=lambda e: min(span.key for span in (*e.gold, *e.predicted)))
    return Disagreements(
        records=tuple(records),
        matched=tuple(matched),
        gold=sum(len(gold.spans) for gold, _ in pairs),
        predicted=sum(len(predicted.spans) for _, predicted in pairs),
    )


def _take(spans: Iterable[Span], found: Counter[tuple[object, ...]]) -> tuple[list[Span], list[Span]]:
    """The spans that are among the found, a copy for a copy, and the others in canonical order."""
    taken, left = [], []
    for span in spans:
        if found[span.key] > 0:
            found[span.key] -= 1
            taken.append(span)
        else:
            left.append(span)
    return taken, sorted(left, key=lambda span: span.key)


def _explain(gold: list[Span], predicted: list[Span]) -> Iterator[tuple[str, tuple[Span, ...], tuple[Span, ...]]]:
    free = set(range(len(gold))), set(range(len(predicted)))
    at: dict[object, list[int]] = {}
    for place, span in enumerate(predicted):
        at.setdefault((span.start, span.end, span.fragments), []).append(place)
    for one, span in enumerate(gold):
        other = at.get((span.start, span.end, span.fragments))
        if other:
            yield "type", (span,), (predicted[other[0]],)
            free[0].discard(one)
            free[1].discard(other.pop(0))
    edges = _edges(gold, predicted, free)
    same = [edge for edge in edges if gold[edge[0]].label == predicted[edge[1]].label]
    for golds, predictions in _stars(same, free, several=True):
        kind = "merged" if len(golds) > 1 else "split" if len(predictions) > 1 else "boundary"
        yield kind, tuple(gold[i] for i in golds), tuple(predicted[i] for i in predictions)
    for golds, predictions in _stars(edges, free, several=False):
        yield "boundary+type", (gold[golds[0]],), (predicted[predictions[0]],)
    yield from (("missed", (gold[i],), ()) for i in sorted(free[0]))
    yield from (("spurious", (), (predicted[i],)) for i in sorted(free[1]))


def _edges(gold: list[Span], predicted: list[Span], free: tuple[set[int], set[int]]) -> list[_Edge]:
    """The pairs of free spans that share characters, most of them first; swapping the sides swaps the pairs."""
    if not free[0] or not free[1]:
        return []
    starts = [span.start for span in predicted]  # in order, as all spans here
    reach = list(accumulate((span.end for span in predicted), max))
    found = []
    for one in free[0]:
        span = gold[one]
        for other in range(bisect_right(reach, span.start), bisect_left(starts, span.end)):
            if other in free[1] and (shared := _shared(span, predicted[other])):
                found.append((-shared, sorted((span.key, predicted[other].key)), (one, other)))
    return [edge for _, _, edge in sorted(found)]


def _shared(a: Span, b: Span) -> int:
    """How many characters two spans share; between the pieces of a span lies nothing of it."""
    if not a.fragments and not b.fragments:
        return max(0, min(a.end, b.end) - max(a.start, b.start))
    ours, theirs = (span.fragments or ((span.start, span.end),) for span in (a, b))
    return sum(max(0, min(e, end) - max(s, start)) for s, e in ours for start, end in theirs)


def _stars(edges: Sequence[_Edge], free: tuple[set[int], set[int]], several: bool) -> list[_Star]:
    """Errors of one gold and one predicted span, the largest overlaps first, and taken from the free ones.

    With `several`, a span that is left joins the error of the one it overlaps most, so that one gold span has
    several predicted ones or the other way round, never both.
    """
    stars: list[_Star] = []
    star_of: tuple[dict[int, _Star], dict[int, _Star]] = ({}, {})
    for one, other in edges:
        if one in free[0] and other in free[1]:
            star = [one], [other]
            stars.append(star)
            star_of[0][one] = star_of[1][other] = star
            free[0].discard(one)
            free[1].discard(other)
    for edge in edges if several else ():
        for side in (0, 1):
            if edge[side] in free[side] and edge[1 - side] in star_of[1 - side]:
                star = star_of[1 - side][edge[1 - side]]
                if len(star[1 - side]) == 1:
                    star[side].append(edge[side])
                    free[side].discard(edge[side])
    return [(sorted(golds), sorted(predictions)) for golds, predictions in stars]
