"""Arms that were cross-validated on the same folds: the corrected t-test over folds and seeds."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from clinnlp.errors import DataError
from clinnlp.recipes._runs import StoredRun

if TYPE_CHECKING:
    from clinnlp.evaluation.comparison import Contrast


def over_folds(
    stored: Sequence[StoredRun], contrasts: "Sequence[Contrast]", part: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """Arms that were cross-validated on the same folds: the corrected t-test, or why there is none, and a sentence."""
    from clinnlp.evaluation.comparison_report import outcome_values
    from clinnlp.evaluation.rendering import printable
    from clinnlp.evaluation.significance import corrected_t

    folds = {one.name: one.folds for one in stored}
    for contrast in contrasts:
        pairs = [(folds[one], folds[other]) for one, other in contrast.together]
        first = pairs[0][0] if pairs else None
        if first is None or not first.score.startswith(part):
            continue
        scores: list[tuple[float, float]] = []
        values: dict[str, Any] = {"first": contrast.first, "second": contrast.second, "score": first.score}
        if any(one is not None and other is not None and one.how != other.how for one, other in pairs):
            told = f"{printable(contrast.first)} and {printable(contrast.second)} were tested on other folds"
            yield {**values, "difference": None, "test": None}, f"{told}: their folds are not compared"
            continue
        for one, other in pairs:
            if one is None or other is None or not one.shape == other.shape == first.shape:
                break
            both = [(one.by_fold[name], other.by_fold[name]) for name in one.by_fold]
            scores += [(ours, theirs) for ours, theirs in both if ours is not None and theirs is not None]
        if len(scores) < max(2, len(pairs) * len(first.by_fold)):  # a fold without a score leaves no test
            continue
        differences = [ours - theirs for ours, theirs in scores]
        try:
            outcome = corrected_t(differences, fmean(first.train_notes), fmean(first.test_notes))
            told = f"corrected t-test p = {outcome.p:.4f}"
        except DataError as error:
            outcome, told = None, f"no test: {error.what}"
        yield (
            {**values, "difference": fmean(differences), "test": outcome_values(outcome)},
            f"Over {len(scores)} folds and seeds, {printable(contrast.first)} minus {printable(contrast.second)} in "
            f"{first.score}: {fmean(differences):+.4f}, {told}",
        )
