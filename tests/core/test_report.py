import json
import math

import pytest

from clinnlp.core.report import (
    DataCounts,
    EntityReport,
    Interval,
    LabelScores,
    NotesReport,
    Report,
    Score,
    SpanCounts,
    weighted_mean,
)
from clinnlp.errors import IntegrityError


def test_ratios_derive_from_counts() -> None:
    score = Score(tp=3, fp=1, fn=2)
    assert (score.support, score.predicted) == (5, 4)
    assert (score.precision, score.recall) == (0.75, 0.6)
    assert score.f1 == pytest.approx(6 / 9)
    assert score + Score(1, 1, 1) == Score(4, 2, 3)


def test_nothing_over_nothing_is_nan_and_not_zero_or_one() -> None:
    nothing = Score()
    assert math.isnan(nothing.precision) and math.isnan(nothing.recall) and math.isnan(nothing.f1)
    assert math.isnan(Score(fn=2).precision) and Score(fn=2).f1 == 0.0
    assert math.isnan(Score(fp=2).recall) and Score(fp=2).f1 == 0.0


def test_averages_counted_by_hand() -> None:
    scores = LabelScores({"A": Score(3, 1, 0), "B": Score(0, 0, 1), "C": Score(0, 2, 0), "D": Score()})
    assert scores.present == ("A", "B", "C")
    assert scores.absent == ("C", "D")
    assert scores.micro == Score(3, 3, 1)
    # B predicts nothing and C has no gold: 0 in the averages over A, B and C; D is in neither and is left out
    assert scores.macro.precision == pytest.approx(0.75 / 3)
    assert scores.macro.recall == pytest.approx(1 / 3)
    assert scores.macro.f1 == pytest.approx((6 / 7) / 3)
    assert scores.weighted.recall == pytest.approx(3 / 4)
    assert scores.weighted.precision == pytest.approx(0.75 * 3 / 4)


def test_averages_over_no_label_are_nan() -> None:
    scores = LabelScores({"A": Score()})
    assert all(math.isnan(value) for value in (scores.macro.f1, scores.weighted.f1, scores.micro.f1))
    assert math.isnan(LabelScores({"A": Score(fp=1)}).weighted.f1)
    assert math.isnan(weighted_mean([], []))


def test_metrics_json_of_entities_is_stable() -> None:
    interval = Interval(0.1, 0.9, 0.95, 10_000, "group", 4)
    strict = LabelScores({"B": Score(0, 0, 1), "A": Score(1, 1, 0)}, interval)
    entity = EntityReport(strict, SpanCounts(2, 1, 0, 0), SpanCounts(2), documents=4, documents_without_gold=2)
    content = Report(entity=entity, data=DataCounts(4, 4, 100, 1, 0, 20, 50)).as_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == {
        "format_version": 1,
        "data": {
            "documents": 4,
            "groups": 4,
            "characters": 100,
            "empty": 1,
            "shortest": 0,
            "median": 20,
            "longest": 50,
        },
        "entity": {
            "strict": {
                "micro": {
                    "precision": 0.5,
                    "recall": 0.5,
                    "f1": 0.5,
                    "tp": 1,
                    "fp": 1,
                    "fn": 1,
                    "support": 2,
                    "f1_interval": {
                        "low": 0.1,
                        "high": 0.9,
                        "level": 0.95,
                        "resamples": 10_000,
                        "unit": "group",
                        "units": 4,
                        "method": "percentile",
                    },
                },
                "macro": {"precision": 0.25, "recall": 0.5, "f1": 1 / 3},
                "macro_in_gold": {"precision": 0.25, "recall": 0.5, "f1": 1 / 3},
                "weighted": {"precision": 0.25, "recall": 0.5, "f1": 1 / 3},
                "per_label": {
                    "A": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "tp": 1, "fp": 1, "fn": 0, "support": 1},
                    "B": {"precision": None, "recall": 0.0, "f1": 0.0, "tp": 0, "fp": 0, "fn": 1, "support": 1},
                },
                "absent_from_gold": [],
            },
            "counts": {
                "documents": 4,
                "documents_without_gold": 2,
                "gold": 2,
                "scored": 2,
                "predicted": 2,
                "gold_discontinuous": 1,
                "gold_overlapping": 0,
                "gold_duplicates": 0,
                "predicted_discontinuous": 0,
                "predicted_overlapping": 0,
                "predicted_duplicates": 0,
            },
        },
    }


def test_metrics_json_of_notes_has_null_for_nan() -> None:
    notes = NotesReport(LabelScores({"A": Score(1), "B": Score()}), 1, 1, False, average_precision={"A": 1.0})
    content = Report(notes=notes).as_dict()["notes"]
    assert content["accuracy"] == content["micro"]["f1"] == content["macro"]["f1"] == content["weighted"]["f1"] == 1.0
    assert content["average_precision"] == content["per_label"]["A"]["average_precision"] == 1.0
    assert content["per_label"]["B"]["average_precision"] is None
    assert content["per_label"]["B"]["f1"] is None
    assert content["accuracy_interval"] is None and content["multi_label"] is False


def test_entities_that_were_not_scored_are_refused() -> None:
    strict = LabelScores({"A": Score(1, 0, 0)})
    with pytest.raises(IntegrityError) as caught:
        EntityReport(strict, gold=SpanCounts(2), predicted=SpanCounts(1), documents=1)
    assert str(caught.value) == (
        "gold entities in the data = 2, scored = 1. Next: report this as a bug; these scores must not be used."
    )
    with pytest.raises(IntegrityError, match="predicted entities in the data = 3, scored = 1"):
        EntityReport(strict, gold=SpanCounts(1), predicted=SpanCounts(3), documents=1)
