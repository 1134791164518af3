"""Reports as text, in the layout of seqeval's classification_report."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence

from clinnlp.core.report import DataCounts, EntityReport, Interval, LabelScores, NotesReport, Ratios, Report, Score
from clinnlp.core.scorers import CountScores, Scorer, iou

DIGITS = 4
FEW_UNITS = 50  # intervals of fewer groups hold in less than 93.5 % of cases: docs/statistics.md
LONGEST_NAME = 80

METHODS = {"percentile": "percentile bootstrap", "bca": "BCa bootstrap"}

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, bidi and other invisible characters, line ends


def printable(text: str) -> str:
    """Text with control and invisible characters written as escapes, safe for a terminal and a page."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def above(waived: Sequence[str], notices: Sequence[str] = ()) -> str:
    """What a text report begins with, up to an empty line: the leaks that are waived, and what must be known."""
    lines = [f"{name}: {printable(line)}\n" for name, held in (("waived", waived), ("note", notices)) for line in held]
    return "".join([*lines, "\n"] if lines else [])


def shown(name: str) -> str:
    """A name for a row of a table: printable, in quotes if blank, cut where it is longer than any name should be."""
    if not name.strip():
        return repr(name)
    return printable(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def code(text: str) -> str:
    """Text as a code span of Markdown that it cannot end, whatever it holds."""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = printable(text) or " "
    return f"{ticks} {inner} {ticks}" if len(ticks) > 1 else f"`{inner}`"


def text_report(report: Report) -> str:
    """The table of each task with what a reader needs to trust it; undefined ratios are printed as 0 and named."""
    parts = []
    if report.entity is not None:
        parts += [entity_table(report.entity), _lines(entity_facts(report.entity))]
        parts += [_interval_table(report.entity.strict), scorer_table(report.entity)]
    if report.notes is not None:
        parts += [notes_table(report.notes), _lines(notes_facts(report.notes))]
        parts += [_interval_table(report.notes.scores), _prevalence_table(report.notes)]
    return "\n".join([part for part in parts if part] + [_lines(data_facts(report.data))])


def entity_table(report: EntityReport) -> str:
    """Exactly what seqeval's classification_report(mode="strict", digits=4, zero_division=0) prints on flat data."""
    return _table(report.strict, None)


def notes_table(report: NotesReport) -> str:
    """What sklearn's classification_report(digits=4, zero_division=0) prints, without its samples average."""
    return _table(report.scores, None if report.multi_label else (report.accuracy, report.documents))


MEANINGS = {
    "strict": "bounds, fragments and label agree",
    "exact": "bounds and fragments agree, any label",
    "partial": "bounds overlap, any label; counts half unless they agree",
    "type": "bounds overlap and the label agrees",
    "overlap": "a shared character and the label; pairs of spans",
    "token": "words and signs under each label; F1 is Dice",
    "character": "characters under each label; F1 is Dice",
    "lenient": "seqeval's default and conlleval: neighbours of one label merge",
}


def scorer_table(report: EntityReport) -> str:
    """Every way of counting, one row each (micro), and what the scores of spans are worth; empty without scorers."""
    if not report.scorers:
        return ""
    heads = ("precision", "recall", "f1-score", "iou", *COUNTED)
    lines = [f"{'scorer':>12s} " + "".join(f" {head:>9}" for head in heads) + "  meaning", ""]
    for name, scorer in report.scorers.items():
        ratios = (scorer.micro.precision, scorer.micro.recall, scorer.micro.f1)
        overlap = scorer_iou(scorer)
        cells = (*map(_number, ratios), "-" if overlap is None else _number(overlap), *scorer_counts(scorer))
        lines.append(f"{name:>12s} " + "".join(f" {cell:>9}" for cell in cells) + f"  {MEANINGS[name]}")
    return "\n".join([*lines, "", _lines(detection_facts(report))])


COUNTED = ("correct", "incorrect", "partial", "missed", "spurious")
"""What `scorer_counts` counts, in the words of SemEval-2013."""


def scorer_counts(scorer: Scorer) -> tuple[str, ...]:
    """The counts of a scorer under COUNTED; - for what it does not know."""
    micro = scorer.micro
    if isinstance(micro, Score):
        return f"{micro.tp:,}", "-", "-", f"{micro.fn:,}", f"{micro.fp:,}"
    return tuple(f"{getattr(micro, name):,}" for name in COUNTED)


def scorer_iou(scorer: Scorer) -> float | None:
    """Intersection over union of what both sides cover; None of a scorer that pairs spans or chunks."""
    covers = isinstance(scorer, CountScores) and scorer.unit in ("character", "token")
    return iou(scorer.micro) if covers and isinstance(scorer.micro, Score) else None


def detection_facts(report: EntityReport) -> Iterator[str]:
    """Sentences on the scores of predicted spans."""
    if report.detection is None:
        yield "Average precision: not computed, predicted spans carry no scores"
        return
    yield (
        f"Average precision of spans by score: micro {_number(report.detection.micro)}, "
        f"macro {_number(report.detection.macro)}"
    )
    for point in report.detection.recall_at_precision:
        if math.isnan(point.recall):
            yield f"Precision {point.target:.2f} is not reached at any score"
        else:
            reached = f"{_number(point.recall)}, from score {point.threshold:.4f} on"
            yield f"Recall at precision {point.target:.2f}: {reached}"


def entity_facts(report: EntityReport) -> Iterator[str]:
    """Sentences on what the entity scores count."""
    yield "Strict: bounds, label and fragments must all agree; whole documents, in characters"
    yield (
        f"Gold entities in the data = scored = {report.gold.total:,}; predicted {report.predicted.total:,}; "
        f"documents {report.documents:,}, {report.documents_without_gold:,} of them without gold entities"
    )
    if report.documents_without_gold:
        yield "A document without gold entities counts by its spurious ones alone"
    yield _interval_fact("Micro F1", report.strict.micro.f1, report.strict.f1_interval)
    yield from few_units_fact(report.strict.f1_interval)
    yield from _label_facts(report.strict)
    held = {"discontinuous": report.gold.discontinuous, "overlapping": report.gold.overlapping}
    held["duplicate"] = report.gold.duplicates
    if any(held.values()):
        yield "Gold entities that flat tags cannot hold: " + ", ".join(f"{n:,} {kind}" for kind, n in held.items())


def notes_facts(report: NotesReport) -> Iterator[str]:
    """Sentences on what the note scores count."""
    if report.multi_label:
        name = "Subset accuracy (all labels of a note right)"
        yield _interval_fact("Micro F1", report.scores.micro.f1, report.scores.f1_interval)
    else:
        name = "Accuracy"
    yield _interval_fact(name, report.accuracy, report.accuracy_interval)
    yield from few_units_fact(report.accuracy_interval)
    if report.multi_label:
        yield "A note without labels is right where none was predicted; it has no part in precision, recall and F1"
    yield f"Documents {report.documents:,}, {report.unpredicted:,} of them without a predicted label"
    yield from _label_facts(report.scores)
    yield (
        f"Balanced accuracy {_number(report.balanced_accuracy)}, MCC {_number(report.mcc)}, "
        f"AUROC (macro) {_number(report.macro_auroc)}"
    )
    if report.average_precision is None:
        yield "Average precision: not computed, the predictions carry no label scores"
    else:
        mean, labels = report.macro_average_precision, len(report.average_precision)
        yield f"Average precision: macro {mean:.{DIGITS}f} over the {labels} labels in gold"


def data_facts(data: DataCounts) -> Iterator[str]:
    """One sentence on the documents scored."""
    groups = "no groups" if data.groups is None else f"{data.groups:,} groups"
    yield (
        f"Data: {data.documents:,} documents, {groups}, {data.characters:,} characters ({data.shortest:,} to "
        f"{data.longest:,} each, median {data.median:,}), {data.empty:,} empty texts"
    )


def _lines(sentences: Iterator[str]) -> str:
    return "".join(f"{sentence}.\n" for sentence in sentences)


def _interval_fact(name: str, value: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{name} {_number(value)}, without an interval: {why_no_interval(value)}"
    return (
        f"{name} {_number(value)}, {interval.level:.0%} interval {_number(interval.low)} to {_number(interval.high)} "
        f"({METHODS[interval.method]}: {interval.resamples:,} resamples of {interval.units:,} {interval.unit}s)"
    )


def few_units_fact(interval: Interval | None) -> Iterator[str]:
    """A warning where an interval comes from so few groups that it is too narrow."""
    if interval is not None and interval.units < FEW_UNITS:
        yield f"With fewer than {FEW_UNITS} {interval.unit}s intervals are too narrow: see docs/statistics.md"


def why_no_interval(value: float) -> str:
    """Why a score has no interval."""
    return "there is nothing to score" if math.isnan(value) else "all is of one document or group, and it takes two"


def _interval_table(scores: LabelScores) -> str:
    """The interval of the F1 of each label; empty without any."""
    drawn = {label: interval for label in scores.present if (interval := (scores.label_intervals or {}).get(label))}
    if not drawn:
        return ""
    names = {label: shown(label) for label in drawn}
    width = max([len(name) for name in names.values()] + [len("weighted avg"), DIGITS])
    level = next(iter(drawn.values())).level
    lines = [f"{'':>{width}s}   f1-score  {level:.0%} interval", ""]
    for label, one in drawn.items():
        f1 = scores.per_label[label].f1
        lines.append(f"{names[label]:>{width}s}  {f1:>9.{DIGITS}f}  {_number(one.low)} to {_number(one.high)}")
    return "\n".join(lines) + "\n"


def _label_facts(scores: LabelScores) -> Iterator[str]:
    rows = {label: scores.per_label[label] for label in scores.present}
    unseen = [label for label in scores.absent if label not in rows]
    if unseen:
        yield f"Declared labels in neither gold nor predictions, left out of the averages: {_names(unseen)}"
    no_gold = [label for label, score in rows.items() if not score.support]
    if no_gold:
        yield f"Labels absent from gold, recall undefined: {_names(no_gold)}"
        held = len(rows) - len(no_gold)
        if held:
            yield f"Macro F1 over the labels in gold alone ({held:,}): {scores.macro_in_gold.f1:.4f}"
    no_predictions = [label for label, score in rows.items() if not score.predicted]
    if no_predictions:
        yield f"Labels never predicted, precision undefined: {_names(no_predictions)}"
    if no_gold or no_predictions:
        yield "Undefined ratios are printed as 0 and count as 0 in the averages; metrics.json has null for them"


def _names(labels: list[str]) -> str:
    return ", ".join(shown(label) for label in labels)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.{DIGITS}f}"


def _table(scores: LabelScores, accuracy: tuple[float, int] | None) -> str:
    """The table of seqeval and sklearn; `accuracy` and its support replace the micro average."""
    names = {label: shown(label) for label in scores.present}
    width = max([len(name) for name in names.values()] + [len("weighted avg"), DIGITS])
    lines = [f"{'':>{width}s} " + "".join(f" {head:>9}" for head in ("precision", "recall", "f1-score", "support")), ""]

    def row(name: str, ratios: Score | Ratios, support: int) -> str:
        cells = (ratios.precision, ratios.recall, ratios.f1)
        # seqeval prints 0 for nothing over nothing; a table without rows has no such layout to keep
        printed = (0.0 if math.isnan(cell) and names else cell for cell in cells)
        return f"{name:>{width}s} " + "".join(f" {cell:>9.{DIGITS}f}" for cell in printed) + f" {support:>9}"

    lines += [row(name, scores.per_label[label], scores.per_label[label].support) for label, name in names.items()]
    lines.append("")
    support = scores.micro.support
    if accuracy is None:
        lines.append(row("micro avg", scores.micro, support))
    else:
        lines.append(f"{'accuracy':>{width}s} " + " " * 20 + f" {accuracy[0]:>9.{DIGITS}f} {accuracy[1]:>9}")
    lines += [row("macro avg", scores.macro, support), row("weighted avg", scores.weighted, support)]
    return "\n".join(lines) + "\n"


def _prevalence_table(report: NotesReport) -> str:
    """How frequent each label is, which its average precision is to be compared with."""
    names = {label: shown(label) for label in report.scores.present}
    width = max([len(name) for name in names.values()] + [len("weighted avg"), DIGITS])
    lines = [f"{'':>{width}s}  prevalence  average precision", ""]
    for label, name in names.items():
        precision = (report.average_precision or {}).get(label, math.nan)
        told = "-" if math.isnan(precision) else f"{precision:.{DIGITS}f}"
        lines.append(f"{name:>{width}s}  {report.prevalence(label):>10.{DIGITS}f}  {told:>17}")
    return "\n".join(lines) + "\n"
