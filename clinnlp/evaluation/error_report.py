"""Error analysis of one run: kinds of error, what was lost on the way, and the slices of the data that cost most."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinnlp.core.document import Document
from clinnlp.core.report import Score
from clinnlp.evaluation.disagreements import find_disagreements
from clinnlp.evaluation.losses import Losses, Ranges, losses
from clinnlp.evaluation.pairing import pair
from clinnlp.evaluation.properties import SMALL, Slicing
from clinnlp.evaluation.slices import LEVEL, RANKED, Cell, Slices, slice_notes, slice_spans, worst


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What went wrong, in counts: no note text and no document ids.

    `kinds` and `spans` are None where spans were not scored, `notes` where note labels were not, `losses` where
    nothing says what a model without a fault would return.
    """

    kinds: Mapping[str, Mapping[str, int]] | None = None
    losses: Losses | None = None
    spans: Slices | None = None
    notes: Slices | None = None

    def as_dict(self) -> dict[str, Any]:
        """The part of metrics.json: null for nothing over nothing."""
        content: dict[str, Any] = {}
        if self.kinds is not None and self.spans is not None:
            content["entity"] = {
                "kinds": {kind: dict(counts) for kind, counts in self.kinds.items()},
                "losses": None if self.losses is None else self.losses.as_dict(),
                "slices": self.spans.as_dict(),
            }
        if self.notes is not None:
            content["notes"] = {"slices": self.notes.as_dict()}
        return content


def analyse_spans(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    how: Slicing | None = None,
    perfect: Iterable[Document] | None = None,
    read: Sequence[Ranges] | None = None,
) -> ErrorReport:
    """Explain the errors of predicted spans; `perfect` and `read` are those of `losses`.

    Raises DataError if the sides hold different documents.
    """
    golds, predictions = list(gold), list(predicted)
    pairs = pair(golds, predictions)
    found = find_disagreements(pairs)
    lost = None if perfect is None else losses(golds, predictions, perfect, read)
    return ErrorReport(found.counts, lost, slice_spans(pairs, found, how or Slicing()))


def analyse_notes(gold: Iterable[Document], predicted: Iterable[Document], how: Slicing | None = None) -> ErrorReport:
    """Accuracy of predicted note labels by slice. Raises DataError if the sides hold different documents."""
    return ErrorReport(notes=slice_notes(pair(gold, predicted), how or Slicing()))


def error_tables(report: ErrorReport) -> str:
    """The tables of report.txt: kinds of error, losses and the ten slices that cost most."""
    parts = []
    if report.kinds is not None:
        parts.append(_kinds_table(report.kinds))
    if report.losses is not None:
        parts.append("".join(f"{line}.\n" for line in _loss_facts(report.losses)))
    for slices in (report.spans, report.notes):
        if slices is not None:
            parts.append(_slice_table(slices))
    return "\n".join(parts)


def _kinds_table(kinds: Mapping[str, Mapping[str, int]]) -> str:
    lines = [f"{'error':<13}  {'errors':>8}  {'gold':>8}  {'predicted':>9}"]
    lines += [f"{k:<13}  {c['errors']:>8,}  {c['gold']:>8,}  {c['predicted']:>9,}" for k, c in kinds.items()]
    return "\n".join(lines) + "\n"


def _loss_facts(lost: Losses) -> Iterator[str]:
    yield f"Gold spans {lost.gold:,}, found {lost.found:,}; the others, in spans and points of recall"
    points = {name: "-" if math.isnan(share) else f"{100 * share:.2f}" for name, share in lost.recall_lost.items()}
    yield (
        f"Lost to the flat scheme {lost.scheme:,} ({points['scheme']}): {lost.nested:,} nested, "
        f"{lost.overlapping:,} overlapping, {lost.discontinuous:,} discontinuous"
    )
    yield (
        f"Lost to alignment {lost.alignment:,} ({points['alignment']}): {lost.snapped:,} with other bounds, "
        f"{lost.untokenizable:,} without a unit"
    )
    yield f"Lost to windows {lost.windows:,} ({points['windows']}), to the model {lost.model:,} ({points['model']})"


def _slice_table(slices: Slices) -> str:
    name = "F1" if isinstance(slices.total, Score) else "accuracy"
    rows: list[tuple[str, ...]] = [("slice", "n", "errors above", name, "difference", f"{LEVEL:.0%} interval")]
    rows += [_slice_row(cell) for cell in worst(slices)]
    if len(rows) == 1:
        return f"{no_slice(slices)}.\n"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
    facts = [
        f"Slices with most errors above what the overall {name} would give; * where the whole interval of the "
        "difference to the rest of the data lies below 0",
        f"{slices.compared:,} slices were compared: about {slices.compared * (1 - LEVEL) / 2:.1f} would have a * by "
        f"chance alone. Slices under {SMALL} are not shown, under {RANKED} not ranked",
    ]
    return "\n".join([*lines, *(f"{fact}." for fact in facts)]) + "\n"


def no_slice(slices: Slices) -> str:
    """What is said where no slice is ranked."""
    name = "F1" if isinstance(slices.total, Score) else "accuracy"
    what = "spans" if isinstance(slices.total, Score) else "notes"
    return f"No slice of {RANKED} {what} or more has more errors than the overall {name} would give"


def _slice_row(cell: Cell) -> tuple[str, ...]:
    from clinnlp.evaluation.rendering import printable  # here, so that rendering may import this module

    interval = cell.difference_interval
    reach = "-" if interval is None else f"{interval.low:+.3f} to {interval.high:+.3f}"
    difference = "-" if math.isnan(cell.difference) else f"{cell.difference:+.3f}"
    name = f"{cell.dimension}: {printable(cell.name)}{' *' if cell.worse else ''}"
    return name, f"{cell.size:,}", f"{cell.excess:,.1f}", f"{cell.ratio:.3f}", difference, reach
