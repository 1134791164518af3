"""The scorers that others trust, as oracles: seqeval, conlleval and nervaluate, and how far ours are from them."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from clinnlp.core.report import LabelScores, Score
from clinnlp.core.scorers import Matches
from tests.evaluation.flat import TokenSpan

Tags = list[list[str]]
KINDS = ("correct", "incorrect", "partial", "missed", "spurious", "possible", "actual")


def seqeval_differences(ours: LabelScores, gold: Tags, predicted: Tags, strict: bool) -> Iterator[float]:
    """By how much each ratio and support differs from seqeval's: of every label, micro, macro and weighted."""
    from seqeval.metrics import v1
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as default
    from seqeval.scheme import IOB2

    for average in (None, "micro", "macro", "weighted"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if strict:
                theirs = v1.precision_recall_fscore_support(
                    gold, predicted, average=average, scheme=IOB2, zero_division=0
                )
            else:
                theirs = default(gold, predicted, average=average, zero_division=0)
        if average is None:
            assert len(theirs[0]) == len(ours.present), "the same labels have a row"
            for column, label in enumerate(ours.present):
                score = ours.per_label[label]
                values = (score.precision, score.recall, score.f1, score.support)
                yield from (abs(_zero(value) - float(row[column])) for value, row in zip(values, theirs, strict=True))
        elif ours.present:
            figures = getattr(ours, average)
            values = (figures.precision, figures.recall, figures.f1)
            yield from (abs(_zero(value) - float(other)) for value, other in zip(values, theirs[:3], strict=True))


def conlleval(gold: Tags, predicted: Tags) -> dict[str, Score]:
    """The counts of conlleval.pl for B and I: startOfChunk and endOfChunk of both sides at once, in one pass."""

    def split(tag: str) -> tuple[str, str]:
        return (tag, "") if tag == "O" else (tag[0], tag[2:])

    def ends(previous: tuple[str, str], now: tuple[str, str]) -> bool:
        return previous[0] in "BI" and (now[0] in "BO" or previous[1] != now[1])

    def starts(previous: tuple[str, str], now: tuple[str, str]) -> bool:
        return now[0] == "B" or (now[0] == "I" and (previous[0] == "O" or previous[1] != now[1]))

    found, in_gold, in_predicted = Counter[str](), Counter[str](), Counter[str]()
    before, said_before, open_chunk = ("O", ""), ("O", ""), ""
    for tag, said in (
        pair_of_tags
        for one, other in zip(gold, predicted, strict=True)
        for pair_of_tags in [*zip(one, other, strict=True), ("O", "O")]
    ):
        now, said_now = split(tag), split(said)
        if open_chunk:
            over, said_over = ends(before, now), ends(said_before, said_now)
            if over and said_over:
                found[open_chunk] += 1
                open_chunk = ""
            elif over != said_over or now[1] != said_now[1]:
                open_chunk = ""
        if starts(before, now) and starts(said_before, said_now) and now[1] == said_now[1]:
            open_chunk = now[1]
        in_gold[now[1]] += starts(before, now)
        in_predicted[said_now[1]] += starts(said_before, said_now)
        before, said_before = now, said_now
    return {
        label: Score(found[label], in_predicted[label] - found[label], in_gold[label] - found[label])
        for label in sorted(k for k in in_gold | in_predicted if k)
    }


def nervaluate(gold: list[list[TokenSpan]], predicted: list[list[TokenSpan]], labels: Sequence[str]) -> dict[str, Any]:
    """The results of nervaluate, `overall` and of all `entities`."""
    from nervaluate.evaluator import Evaluator

    def rows(corpus: list[list[TokenSpan]]) -> list[list[dict[str, Any]]]:
        return [[{"start": s, "end": e - 1, "label": name} for s, e, name in spans] for spans in corpus]

    result: dict[str, Any] = Evaluator(rows(gold), rows(predicted), tags=list(labels), loader="dict").evaluate()
    return result


def nervaluate_differences(ours: Matches, theirs: Any) -> Iterator[float]:
    """By how much each count and ratio differs from nervaluate's."""
    yield from (abs(getattr(ours, kind) - getattr(theirs, kind)) for kind in KINDS)
    for ratio in ("precision", "recall", "f1"):
        yield abs(_zero(getattr(ours, ratio)) - getattr(theirs, ratio))


def _zero(value: float) -> float:
    """Both call nothing over nothing zero."""
    return 0.0 if value != value else value
