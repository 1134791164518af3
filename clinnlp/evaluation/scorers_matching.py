"""Span scorers that pair each gold span with at most one predicted span: SemEval-2013's four, and overlap.

Equal spans (of `exact` and `partial`: equal bounds) are paired first; the others if they share a character, so that the
pairs of the better kind are as many as can be, then all pairs. These counts have one value whichever of several equally
good pairings is taken: they depend on neither the order of spans nor which side is called gold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import LabelScores, Score
from clinnlp.core.scorers import CountScores, Matches, MatchScores, Scorer
from clinnlp.evaluation.scorers_table import Ints, SpanTable, tally

DENSE_CELLS = 4_000_000  # up to this size, a knot of overlapping spans is solved as a dense table


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Which of some gold spans (rows of the table) share a character with which predicted ones; (E,) pairs."""

    gold: Ints  # (G,) rows of the table
    predicted: Ints  # (P,)
    left: Ints  # (E,) index into gold
    right: Ints  # (E,) index into predicted

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Overlaps":
        """The same spans with some of the pairs."""
        return Overlaps(self.gold, self.predicted, self.left[chosen], self.right[chosen])

    def paired(self) -> npt.NDArray[np.bool_]:
        """(G,) the gold spans of a largest one-to-one pairing (Hopcroft and Karp 1973)."""
        if not len(self.left):
            return np.zeros(len(self.gold), np.bool_)
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import maximum_bipartite_matching

        shape = (len(self.gold), len(self.predicted))
        graph = csr_matrix((np.ones(len(self.left), np.int8), (self.left, self.right)), shape=shape)
        return np.asarray(maximum_bipartite_matching(graph, perm_type="column") >= 0)


def match_spans(table: SpanTable) -> dict[str, Scorer]:
    """The scores strict, exact, partial, type and overlap; those of a label are of the spans of this label alone."""
    equal, gold, predicted = (table.by_label(counts) for counts in (table.equal, table.gold, table.predicted))
    rest = _overlaps(table, table.gold - table.equal, table.predicted - table.equal)
    same = table.label[rest.gold[rest.left]] == table.label[rest.predicted[rest.right]]
    alike = rest.gold[rest.only(same).paired()]
    near = np.bincount(table.label[alike], minlength=len(table.labels))  # pairs of unequal spans of one label

    exact, touching = _any_label(table)
    totals = int(gold.sum()), int(predicted.sum())
    tp = int(equal.sum())
    micro = {
        "strict": _matches(*totals, tp, incorrect=int(rest.paired().sum())),
        "exact": _matches(*totals, exact, incorrect=touching),
        "partial": _matches(*totals, exact, partial=touching),
        "type": _matches(*totals, tp + int(near.sum()), incorrect=_other_labels(rest, same)),
    }
    rows = list(zip(table.labels, *(counts.tolist() for counts in (gold, predicted, equal, near)), strict=True))
    unequal = {label: _matches(g, p, e, incorrect=n) for label, g, p, e, n in rows}
    halves = {label: _matches(g, p, e, partial=n) for label, g, p, e, n in rows}
    whole = {label: _matches(g, p, e + n) for label, g, p, e, n in rows}
    per_label = {"strict": unequal, "exact": unequal, "partial": halves, "type": whole}
    overlap = LabelScores({label: Score(e + n, p - e - n, g - e - n) for label, g, p, e, n in rows})
    semeval: dict[str, Scorer] = {name: MatchScores(micro[name], per_label[name]) for name in micro}
    return semeval | {"overlap": CountScores("span", overlap)}


def _matches(gold: int, predicted: int, correct: int, incorrect: int = 0, partial: int = 0) -> Matches:
    pairs = correct + incorrect + partial
    return Matches(correct, incorrect, partial, missed=gold - pairs, spurious=predicted - pairs)


def _any_label(table: SpanTable) -> tuple[int, int]:
    """Pairs of equal bounds whatever the labels, and pairs that share a character beside them."""
    first = np.flatnonzero(np.diff(table.extent, prepend=-1))  # the row that stands for its extent
    gold, predicted = np.zeros_like(table.gold), np.zeros_like(table.predicted)
    gold[first] = tally(table.extent, len(first), table.gold)
    predicted[first] = tally(table.extent, len(first), table.predicted)
    equal = np.minimum(gold, predicted)
    return int(equal.sum()), int(_overlaps(table, gold - equal, predicted - equal).paired().sum())


def _overlaps(table: SpanTable, gold_copies: Ints, predicted_copies: Ints) -> Overlaps:
    """The overlaps of the spans of which so many copies (K,) are left."""
    gold, predicted = (np.repeat(np.arange(len(copies)), copies) for copies in (gold_copies, predicted_copies))
    left, starts, ends = _sorted_parts(table, gold)
    right, other_starts, other_ends = _sorted_parts(table, predicted)
    later = _starting_inside(starts, ends, other_starts)
    earlier = _starting_inside(other_starts, other_ends, starts)[::-1]
    pairs = np.concatenate([later, earlier], axis=1)
    # once each: spans of one start are in both, and parts of one span may meet parts of another several times
    code = np.unique(left[pairs[0]] * max(1, len(predicted)) + right[pairs[1]])
    return Overlaps(gold, predicted, *np.divmod(code, max(1, len(predicted))))


def _sorted_parts(table: SpanTable, rows: Ints) -> tuple[Ints, Ints, Ints]:
    owner, start, end = table.parts(rows)
    order = np.argsort(start, kind="stable")
    return owner[order], start[order], end[order]


def _starting_inside(start: Ints, end: Ints, others: Ints) -> Ints:
    """(2, E): each interval with each of the sorted `others` that starts in it."""
    low = np.searchsorted(others, start)
    counts = np.searchsorted(others, end) - low
    first = np.repeat(np.arange(len(start)), counts)
    return np.stack([first, np.arange(len(first)) + np.repeat(low - np.cumsum(counts) + counts, counts)])


def _other_labels(rest: Overlaps, same: npt.NDArray[np.bool_]) -> int:
    """How many pairs of two labels there are beside as many pairs of one label as can be.

    Only knots in which both kinds compete need a search; the knots are the connected components of the overlaps.
    """
    if same.all():
        return 0
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    golds, spans = len(rest.gold), len(rest.gold) + len(rest.predicted)
    graph = csr_matrix((np.ones(len(same), np.int8), (rest.left, rest.right + golds)), shape=(spans, spans))
    knots, member = connected_components(graph, directed=False)
    knot = member[rest.left]  # of each overlap
    has_same = np.bincount(knot, same, knots) > 0
    has_other = np.bincount(knot, ~same, knots) > 0
    several = np.minimum(np.bincount(member[:golds], minlength=knots), np.bincount(member[golds:], minlength=knots)) > 1
    found = int(rest.only(~has_same[knot]).paired().sum())
    hard = np.flatnonzero((has_same & has_other & several)[knot])
    hard = hard[np.argsort(knot[hard], kind="stable")]
    for overlaps in np.split(hard, np.flatnonzero(np.diff(knot[hard])) + 1) if len(hard) else []:
        found += _solve(rest.left[overlaps], rest.right[overlaps], same[overlaps])
    return found


def _solve(left: Ints, right: Ints, same: npt.NDArray[np.bool_]) -> int:
    """The pairs of two labels in the heaviest pairing, where one pair of one label outweighs all of them."""
    rows, left = np.unique(left, return_inverse=True)
    columns, right = np.unique(right, return_inverse=True)
    heavy = min(len(rows), len(columns)) + 1
    if len(rows) * len(columns) <= DENSE_CELLS:
        from scipy.optimize import linear_sum_assignment

        weights = np.zeros((len(rows), len(columns)))
        weights[left, right] = np.where(same, heavy, 1)
        return int((weights[linear_sum_assignment(weights, maximize=True)] == 1).sum())
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    alone = np.arange(len(rows))  # a column of its own for each row, so that all rows can be assigned
    weights = np.concatenate([np.where(same, heavy + 1.0, 2.0), np.ones(len(rows))])
    cells = (np.concatenate([left, alone]), np.concatenate([right, len(columns) + alone]))
    graph = csr_matrix((weights, cells), shape=(len(rows), len(columns) + len(rows)))
    chosen = min_weight_full_bipartite_matching(graph, maximize=True)
    return int((np.asarray(graph[chosen]) == 2).sum())
