"""All ways of scoring spans, side by side: strict, exact, partial, type, overlap, token, character, lenient."""

from collections.abc import Sequence

from clinnlp.core.scorers import Scorer
from clinnlp.evaluation.pairing import Pair
from clinnlp.evaluation.scorers_matching import match_spans
from clinnlp.evaluation.scorers_sequence import cover_spans, lenient
from clinnlp.evaluation.scorers_table import SpanTable, tabulate

__all__ = ["NAMES", "lenient", "score_spans", "score_table"]

NAMES = ("strict", "exact", "partial", "type", "overlap", "token", "character", "lenient")


def score_spans(pairs: Sequence[Pair], labels: Sequence[str] | None = None) -> dict[str, Scorer]:
    """The spans of joined documents by every scorer of NAMES; `labels` declares further labels."""
    return score_table(tabulate(pairs, labels), [gold.text for gold, _ in pairs])


def score_table(table: SpanTable, texts: Sequence[str]) -> dict[str, Scorer]:
    """As `score_spans`, of spans that are in a table and the texts of its documents."""
    found = match_spans(table) | cover_spans(table, texts)
    return {name: found[name] for name in NAMES}
